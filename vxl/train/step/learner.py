"""What a stage trains: the whole model, or the compressor alone, behind its tower, by reconstruction.

What trains is any module whose children are called as parts are (`vxl.train.step.stage.PARTS`) and that makes
a `TrainOutput` of a batch: a sum, to be divided by the supervised tokens of the whole global batch.
"""

import torch
from torch import nn

from vxl.compressor.dts import DTSConfig
from vxl.compressor.reconstruct import Reconstruct
from vxl.data.batch.collate import Batch
from vxl.model import TrainOutput, build_model
from vxl.option.build import build
from vxl.sequence.rows import IGNORE
from vxl.train.config import TrainConfig
from vxl.vision.base import VisionEncoder
from vxl.weights.initial import building


class Reconstruction(nn.Module):
    """Tower and compressor, without a language model.

    Args:
        vision: frames_FCHW -> patches_FPV; it does not learn.
        compressor: patches_FPV -> errors_G2.
    """

    def __init__(self, vision: VisionEncoder, compressor: Reconstruct) -> None:
        super().__init__()
        self.vision = vision
        self.compressor = compressor

    def forward(self, batch: Batch) -> TrainOutput:
        """The loss: the mean error of each group, counted at each of its supervised visual positions."""
        frames_FCHW = batch.frames_FCHW
        labels_GK = batch.labels_BT[batch.layout.visual_BT].view(-1, self.compressor.tokens_per_group)
        counted_G = (labels_GK != IGNORE).sum(1)
        if not len(frames_FCHW):  # a blank group keeps every parameter in the graph, as all ranks must
            frames_FCHW = frames_FCHW.new_zeros(self.compressor.frames_per_group, *frames_FCHW.shape[1:])
            counted_G = counted_G.new_zeros(1)
        visuals = [item.frames for item in batch.items]
        errors_G2 = self.compressor(self.vision(frames_FCHW, visuals))
        loss, baseline = (errors_G2 * counted_G.unsqueeze(-1)).sum(0)
        return TrainOutput(
            loss,
            batch.supervised,
            hidden_SD=errors_G2.detach(),
            logits_QV=errors_G2.new_zeros(0, 0),
            labels_S=labels_GK[labels_GK != IGNORE],
            baseline_sum=baseline.detach(),
        )


def build_learner(
    config: TrainConfig,
    *,
    vocab_size: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    pretrained: bool = True,
    outlined: bool = False,
) -> nn.Module:
    """Builds what a stage trains; arguments and errors are those of `build_model`.

    Args:
        config: Its stage's objective says which of the two is built.
        vocab_size: Tokens of the tokenizer, all of which the language model must have; None: not checked.
        device: Where it is built; `meta` for shapes without memory.
        dtype: Precision of the parameters; None: torch's default.
        pretrained: Whether parts that name pretrained weights are filled with them.
        outlined: Whether the language model is an outline, to be counted.
    """
    if config.stage.objective == "language":
        return build_model(
            config,
            vocab_size=vocab_size,
            device=device,
            dtype=dtype,
            pretrained=pretrained,
            outlined=outlined,
        )
    assert isinstance(config.compressor, DTSConfig)  # vxl.config.check has seen to it
    device = torch.device(device)
    with building("vision", config.seed, device, dtype):
        vision: VisionEncoder = build(config.vision)
    with building("compressor", config.seed, device, dtype):
        compressor = Reconstruct(
            config.compressor, config.stage.reconstruct, vision_width=vision.width, grid=vision.grid
        )
    if pretrained and device.type != "meta":
        vision.load_pretrained()
    return Reconstruction(vision, compressor)
