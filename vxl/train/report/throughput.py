"""Arithmetic of a training step, part by part, and the share of the device's peak that it reaches (MFU).

Only what the mathematics requires is counted: no recomputation, no gradients of frozen weights, no gradients
that nothing upstream asks for. A multiply-add is two operations.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from vxl.llm.beacon import is_of_beacon
from vxl.train.step.stage import PARTS, Part, part_of
from vxl.train.step.train_step import TrainStep
from vxl.weights.coded import coded

# Dense bf16 peaks in operations a second, from the vendors' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "B200": 2250e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


@dataclass(frozen=True)
class PartFlops:
    """Operations of one part for one unit of what goes through it (a frame, a token, a pair of tokens)."""

    weights: float = 0.0
    """Forward products with weights."""
    trained: float = 0.0
    """Those of them whose weights learn."""
    attention: float = 0.0
    """Forward products of activations with each other."""
    flows: bool = False
    """Whether gradients go through: the part or something upstream of it learns."""

    @property
    def forward(self) -> float:
        """Without any gradients."""
        return self.weights + self.attention

    @property
    def step(self) -> float:
        """Forward, gradients of inputs where they are wanted, and of weights that learn.

        A product of two activations has two inputs, so its backward is twice its forward.
        """
        inputs = (self.weights + 2 * self.attention) * self.flows
        return self.forward + inputs + self.trained


@dataclass(frozen=True)
class Flops:
    """Counts the operations that a step needs.

    Attributes:
        frame: By part (vision, compressor, projector), a frame's.
        visual: The selector, a visual token's.
        token: The language model without its head, a token's.
        pair: Its attention, a pair's of a token and a key that it sees.
        head: The vocabulary projection, which only supervised tokens go through.
        peak: Operations a second that the device can do.
    """

    frame: dict[str, PartFlops]
    visual: PartFlops
    token: PartFlops
    pair: PartFlops
    head: PartFlops
    peak: float

    def of(self, step: TrainStep) -> float:
        """Operations of one step.

        Args:
            step: What the step saw: frames, visual tokens, the language model's tokens and pairs, supervised.
        """
        return sum(self.by_part(step).values())

    def by_part(self, step: TrainStep) -> dict[str, float]:
        """Operations of one step by part."""
        return {
            **{part: work.step * step.frames for part, work in self.frame.items()},
            "selector": self.visual.step * step.visual_tokens,
            "llm": self.token.step * step.llm_tokens + self.pair.step * step.pairs,
            "head": self.head.step * step.supervised,
        }


def peak_of(device: torch.device) -> float | None:
    """Dense bf16 peak of a device, or None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in PEAKS.items() if key in name), None)


def flops_of(model: nn.Module, peak: float) -> Flops:
    """Counts a model's operations; what learns is what `freeze` left with gradients.

    Args:
        model: What a stage trains, on any device, not compiled yet.
        peak: Operations a second that the device can do.
    """
    counts = dict.fromkeys(PARTS, 0.0)
    learns = dict.fromkeys(PARTS, 0.0)
    table = head = 0
    head_learns = False
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name:
            table, table_learns = parameter.numel(), parameter.requires_grad
            head_learns = head_learns or (not head and table_learns)
        elif "lm_head" in name:
            head, head_learns = parameter.numel(), parameter.requires_grad
        elif parameter.ndim > 1 and not is_of_beacon(name):  # beacons are few, and go through their own alone
            counts[part_of(name)] += 2 * parameter.numel()
            learns[part_of(name)] += 2 * parameter.numel() * parameter.requires_grad
    for name, layer in coded(model):  # whose weights are no parameters
        counts[part_of(name)] += 2 * layer.in_features * layer.out_features
    flows: dict[Part, bool] = {}
    upstream = False
    for part in PARTS:
        upstream |= any(p.requires_grad for name, p in model.named_parameters() if part_of(name) == part)
        flows[part] = upstream
    frame: dict[str, PartFlops] = {}
    for part, (weights, attention) in _of_a_frame(model).items():
        share = learns[part] / counts[part] if counts[part] else 0.0
        frame[part] = PartFlops(weights, weights * share, attention, flows[part])
    llm = getattr(model, "llm", None)
    width = int(getattr(llm, "layers", 0)) * int(getattr(llm, "width", 0))
    size = 2.0 * (head or table)
    return Flops(
        frame=frame,
        visual=PartFlops(counts["selector"], learns["selector"], 0.0, flows["selector"]),
        token=PartFlops(counts["llm"], learns["llm"], 0.0, flows["llm"]),
        pair=PartFlops(attention=4.0 * width, flows=flows["llm"]),
        head=PartFlops(size, size * head_learns, 0.0, flows["llm"]),
        peak=peak,
    )


def _of_a_frame(model: Any) -> dict[Part, tuple[float, float]]:
    """(products with weights, products of activations) of the parts that see frames, counted on the meta
    device."""
    frames = model.compressor.frames_per_group
    size = model.vision.pixels.size
    kind = next(model.vision.parameters()).dtype
    pixels_FCHW = torch.empty(frames, 3, size, size, dtype=kind, device="meta")
    patches_FPV, vision = _counted(_Encode(model.vision), pixels_FCHW)
    _, whole = _counted(model.compressor, patches_FPV)
    projector = (0.0, 0.0)
    if hasattr(model.compressor, "projector"):
        _, projector = _counted(model.compressor.projector, _seen_by_projector(model, patches_FPV))
    rest = (whole[0] - projector[0], whole[1] - projector[1])
    cost_by_part: dict[Part, tuple[float, float]] = {
        "vision": vision,
        "compressor": rest,
        "projector": projector,
    }
    return {
        part: (weights / frames, attention / frames) for part, (weights, attention) in cost_by_part.items()
    }


class _Encode(nn.Module):
    """The tower behind the normalisation of its pixels."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower: Any = tower

    def forward(self, pixels_FCHW: Tensor) -> Tensor:
        """patches_FPV."""
        return self.tower.encode(pixels_FCHW)


def _counted(module: nn.Module, inputs: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """What a module makes of a tensor on the meta device, and its operations with and without weights."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    outlines = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        outputs = functional_call(module, outlines, (inputs,))
    by_kind = counter.get_flop_counts()["Global"]
    between = sum(n for kind, n in by_kind.items() if "bmm" in str(kind) or "attention" in str(kind))
    return outputs, (float(sum(by_kind.values()) - between), float(between))


def _seen_by_projector(model: Any, patches_FPV: Tensor) -> Tensor:
    """An outline of what the compressor gives its projector for these patches."""
    projector_inputs: list[Tensor] = []
    projector = model.compressor.projector
    handle = projector.register_forward_pre_hook(lambda _, inputs: projector_inputs.append(inputs[0]))
    try:
        _counted(model.compressor, patches_FPV)
    finally:
        handle.remove()
    return torch.cat([tensor.flatten(0, -2) for tensor in projector_inputs])
