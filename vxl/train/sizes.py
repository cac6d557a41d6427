"""What a training needs: parameters by part, which of them learn, and the memory that they take."""

from dataclasses import dataclass

from torch import nn

from vxl.compressor.base import plan
from vxl.llm.config import DecoderConfig, with_own_sizes
from vxl.llm.packed import PACKINGS
from vxl.option.build import build
from vxl.train.config import TrainConfig
from vxl.train.parallel.strategy import FSDP2Config, HSDPConfig
from vxl.train.step.learner import build_learner
from vxl.train.step.optimizer import moment_bytes
from vxl.train.step.stage import freeze, part_of, trains
from vxl.vision.vit import ViTConfig
from vxl.weights.coded import coded
from vxl.weights.fp8 import fits

# Of a number in the precision of weights that learn: a weight, its gradient, a moment of the optimizer.
SAME_BYTES = {"32-true": 4.0, "bf16-mixed": 4.0, "bf16-true": 2.0, "64-true": 8.0}
# nf4 keeps a scale of 32 bits for 64 weights, itself held in 8 bits: 0.127 bits a weight (QLoRA, section 3).
PACKED_BYTES = {"int8": 1.0, "nf4": 0.5 + 0.127 / 8}
LEAST_TEXT = 2
"""Tokens of text of any row: one that asks, and one that is learnt."""


@dataclass(frozen=True)
class TrainingSizes:
    """Parameters of a learner, and the memory of weights, gradients and optimizer."""

    parameters: dict[str, int]
    """By part."""
    learning: dict[str, int]
    """Those that learn, by part."""
    total_bytes: int
    """Of one copy of the model with its gradients and moments."""
    checkpoint_bytes: int
    """Of a checkpoint: all weights (packed ones as bf16), and the optimizer's moments; no gradients."""
    moment_bytes: int
    """Of the optimizer's moments, in one copy of the model."""
    shares: int = 1
    """Processes that the copy is spread over: 1 without FSDP."""

    @property
    def bytes_a_process(self) -> int:
        """What each process holds of it: all, or its share under FSDP. Activations come on top."""
        return round(self.total_bytes / self.shares)

    @property
    def trained(self) -> int:
        """Parameters that learn."""
        return sum(self.learning.values())

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())


def outlined_learner(config: TrainConfig) -> nn.Module:
    """What a stage trains, on the meta device, where a model of any size takes no memory."""
    model = build_learner(config, device="meta", pretrained=False, outlined=True)
    freeze(model, config.stage)
    return model


def training_sizes(config: TrainConfig, model: nn.Module | None = None) -> TrainingSizes:
    """Counts the parameters of `outlined_learner`, or of one that is there already."""
    model = outlined_learner(config) if model is None else model
    frozen, precision = config.trainer.frozen, config.trainer.precision
    parameters: dict[str, int] = {}
    learning: dict[str, int] = {}
    moments = moment_bytes(model, config.optim, SAME_BYTES[precision])
    in_fp8 = _tower_in_fp8(model) if config.vision.fp8 else set()
    memory = checkpoint = kept = 0.0
    for name, parameter in model.named_parameters():
        part, count = part_of(name), parameter.numel()
        parameters[part] = parameters.get(part, 0) + count
        learning[part] = learning.get(part, 0) + count * parameter.requires_grad
        if parameter.requires_grad:
            kept += moments[name]
            memory += count * 2 * SAME_BYTES[precision]  # with its gradient
            checkpoint += count * SAME_BYTES[precision]
        elif frozen in PACKINGS and _is_packed(name, config.llm):
            memory += count * PACKED_BYTES[frozen]
            checkpoint += count * 2.0
        elif name in in_fp8:
            memory, checkpoint = memory + count, checkpoint + count * 2.0
        else:
            size = count * (SAME_BYTES[precision] if frozen == "same" else 2.0)
            memory, checkpoint = memory + size, checkpoint + size
    ranks = config.trainer.devices * config.trainer.num_nodes
    shares = 1
    if isinstance(config.strategy, HSDPConfig):
        shares = config.strategy.shard or config.trainer.devices
    elif isinstance(config.strategy, FSDP2Config):
        shares = ranks
    return TrainingSizes(
        parameters, learning, round(memory + kept), round(checkpoint + kept), round(kept), shares
    )


def is_offloaded(config: TrainConfig) -> bool:
    """Whether weights, gradients and moments stay in the CPU's memory: a card has what is computed with."""
    return isinstance(config.strategy, FSDP2Config) and config.strategy.offload


def most_frames(config: TrainConfig, tokens: float | None = None) -> int:
    """Frames of a row that is as full of video as it may be: of the longest one, or, packed, of as many as
    fill it.

    Args:
        config: The training.
        tokens: Of the row, as the language model sees them; None: as many as it may have.
    """
    shape = plan(config.compressor, config.vision.grid)
    groups = shape.groups(config.video.max_frames)
    room = (config.data.max_tokens if tokens is None else tokens) - LEAST_TEXT
    fit = int(groups * max(0, room) // fed_tokens(config, config.video.max_frames))
    return (fit if config.data.packing else min(groups, fit)) * shape.frames_per_group


def fed_tokens(config: TrainConfig, frames: float) -> int:
    """Visual tokens that the language model sees of so many frames, as far as it is known before."""
    shape = plan(config.compressor, config.vision.grid)
    return build(config.prune).most_fed(shape.groups(frames), shape.tokens_per_group)


def activation_bytes(config: TrainConfig) -> int:
    """About how many bytes a micro-batch keeps for the backward pass, in the blocks of tower and decoder.

    Counted, of rows as long as they may get: what enters each product with a weight, each norm, each gate and
    each attention, with attention in one kernel (Korthikanti et al. 2022, arXiv 2205.05198, section 4, for
    gated MLPs and grouped keys). Of blocks that are recomputed only their input, and one block whole. Left
    out are the compressor, LoRA's narrow products, and the scores over the vocabulary.
    """
    return round(decoder_activations(config).at_most + tower_activations(config).at_most)


@dataclass(frozen=True)
class BlockActivations:
    """What a stack of blocks keeps for its backward pass, in bytes."""

    kept: float = 0.0
    """From its forward pass on."""
    again: float = 0.0
    """Of the block that is being recomputed, while its own backward pass runs."""

    @property
    def at_most(self) -> float:
        """When its backward pass begins."""
        return self.kept + self.again


def product_bytes(config: TrainConfig) -> int:
    """Bytes of a number that enters a product."""
    return {"32-true": 4, "64-true": 8}.get(config.trainer.precision, 2)


def decoder_activations(config: TrainConfig, tokens: float | None = None) -> BlockActivations:
    """Of the language model's blocks, for rows of so many tokens; None: as long as they may get."""
    if config.stage.objective != "language":
        return BlockActivations()
    llm = with_own_sizes(config.llm)
    queries, keys = llm.heads * llm.head_size, llm.kv_heads * llm.head_size
    # Processes that share rows have a share of the tokens each, and in attention the keys and values of all.
    context = config.strategy.context
    inputs = 2 * llm.width + 3 * queries + (1 + 2 * context) * keys + 3 * llm.mlp
    places = config.data.batch * (config.data.max_tokens if tokens is None else round(tokens)) // context
    again = llm.recomputed_share if llm.checkpointing else 0.0
    return _of_blocks(config, places, llm.width, inputs, llm.layers, again)


def tower_activations(config: TrainConfig, frames: float | None = None) -> BlockActivations:
    """Of the tower's blocks where it learns, for rows of so many frames; None: as many as they may get."""
    vision = config.vision
    if not trains(config.stage, "vision") or not isinstance(vision, ViTConfig):
        return BlockActivations()
    frames_a_row = most_frames(config) if frames is None else round(frames)
    patches = config.data.batch * frames_a_row * vision.grid**2 // config.strategy.context
    inputs = 6 * vision.width + 2 * vision.mlp
    again = vision.recomputed if vision.checkpointing else 0.0
    return _of_blocks(config, patches, vision.width, inputs, vision.layers, again)


def parameters_of(model: nn.Module) -> tuple[int, int]:
    """(all, trained) parameters; before the model is sharded."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    sizes += [(layer.in_features * layer.out_features, False) for _, layer in coded(model)]
    return sum(number for number, _ in sizes), sum(number for number, learns in sizes if learns)


def _of_blocks(
    config: TrainConfig, places: int, width: int, inputs: int, layers: int, recomputed: float
) -> BlockActivations:
    """The residual stream enters two norms, `inputs` numbers are what products read."""
    precision = config.trainer.precision
    stream = {"bf16-true": 2, "64-true": 8}.get(precision, 4)
    if config.trainer.frozen != "same" and precision == "bf16-mixed" and config.llm.lora.rank:
        stream = 2  # embeddings that don't learn are bf16, and so is all that is added to them
    again = round(recomputed * layers)
    entering = places * stream * width
    whole = 2 * entering + places * product_bytes(config) * inputs
    return BlockActivations((layers - again) * whole + again * entering, whole if again else 0.0)


def _tower_in_fp8(model: nn.Module) -> set[str]:
    """The names of the weights that a tower which does not learn has in float8."""
    layers = model.get_submodule("vision").named_modules(prefix="vision")
    return {f"{path}.weight" for path, layer in layers if type(layer) is nn.Linear and fits(layer)}


def _is_packed(name: str, llm: DecoderConfig) -> bool:
    """Whether a frozen weight stands beside LoRA's updates."""
    return name.startswith("llm.") and name.endswith(".weight") and name.split(".")[-2] in llm.lora.layers
