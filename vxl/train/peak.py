"""The memory of a GPU at the busiest moment of a training step, by what it holds.

A step is followed backwards: when the language model's backward pass begins all activations are there; when
the compressor's begins the language model's gradients have taken the place of its activations; then the
tower's. The busiest of these moments is the peak.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from vxl.compressor.base import plan
from vxl.llm.config import with_own_sizes
from vxl.train.config import TrainConfig
from vxl.train.parallel.strategy import FSDP2Config
from vxl.train.sizes import (
    SAME_BYTES,
    TrainingSizes,
    decoder_activations,
    is_offloaded,
    product_bytes,
    tower_activations,
)
from vxl.units import human_size

BACKWARDS = ("llm", "selector", "projector", "compressor", "vision")
"""Parts in the order of the backward pass."""
KINDS = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}


@dataclass(frozen=True)
class PeakMemory:
    """Bytes of a process at one moment of a step, by what they hold."""

    weights: float
    moments: float
    gradients: float
    activations: float
    gathered: float
    """Whole weights of what runs just then, where each process holds its share (FSDP)."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.moments + self.gradients + self.activations + self.gathered

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "optimizer": self.moments,
            "gradients": self.gradients,
            "activations": self.activations,
            "gathered weights": self.gathered,
        }
        return ", ".join(f"{human_size(bytes)} {what}" for what, bytes in parts.items() if bytes)


def peak_memory(
    config: TrainConfig,
    sizes: TrainingSizes,
    model: nn.Module,
    *,
    tokens: float,
    frames: float,
    supervised: float,
) -> PeakMemory:
    """The busiest moment of a step.

    Args:
        config: The training.
        sizes: Its parameters.
        model: What it trains, on the meta device.
        tokens: Of a row.
        frames: Of a row.
        supervised: Tokens of a row that are learnt; scores over the vocabulary exist of some at once.
    """
    same, shares = SAME_BYTES[config.trainer.precision], sizes.shares
    learning = {part: same * count / shares for part, count in sizes.learning.items()}
    kept = sizes.moment_bytes / shares
    weights = sizes.total_bytes / shares - kept - sum(learning.values())
    if is_offloaded(config):
        learning, kept, weights = {}, 0.0, 0.0
    # DDP's buckets are the gradients, from the first step to the last; so are sums over micro-batches.
    always = config.strategy.name == "ddp" or config.trainer.accumulate > 1
    llm, tower = decoder_activations(config, tokens), tower_activations(config, frames)
    compressor = _compressor_bytes(config, model, frames)

    def moment(begins: int, activations: float, whole_weights: float) -> PeakMemory:
        """When the backward pass of the n-th of BACKWARDS begins."""
        there = BACKWARDS if always else BACKWARDS[:begins]
        gradients = sum(learning.get(part, 0.0) for part in there)
        return PeakMemory(weights, kept, gradients, activations, whole_weights)

    whole_weights = _gathered(config, sizes)
    scores = 0.0
    if config.stage.objective == "language":
        # As products leave them, in float32, and as log-probabilities.
        places = min(config.data.batch * supervised / config.strategy.context, config.llm.loss_chunk)
        scores = places * config.llm.vocab * (product_bytes(config) + 4 + 4)
    moments = (
        moment(0, scores + llm.at_most + compressor + tower.kept, whole_weights),
        moment(BACKWARDS.index("compressor"), compressor + tower.kept, whole_weights),
        moment(BACKWARDS.index("vision"), tower.at_most, whole_weights),
        moment(len(BACKWARDS), 0.0, 0.0),  # the update
    )
    return max(moments, key=lambda each: each.total)


def _gathered(config: TrainConfig, sizes: TrainingSizes) -> float:
    """Of FSDP: two blocks and what is in no block; or all weights, where they stay gathered."""
    if sizes.shares == 1:
        return 0.0
    product = product_bytes(config)
    if isinstance(config.strategy, FSDP2Config) and not config.strategy.reshard:
        return product * sizes.total
    llm = with_own_sizes(config.llm)
    table = llm.vocab * llm.width * (1 if llm.tied else 2)
    a_block = (sizes.parameters.get("llm", 0) - table) / max(1, llm.layers)
    return product * (2 * a_block + table)


def _compressor_bytes(config: TrainConfig, model: nn.Module, frames: float) -> float:
    """What the compressor keeps for its backward pass, counted on the meta device over one group."""
    compressor = getattr(model, "compressor", None)
    learns = any(p.requires_grad for n in ("vision", "compressor") for p in _of(model, n))
    if not isinstance(compressor, nn.Module) or not learns:
        return 0.0
    kind = KINDS[product_bytes(config)]
    size = plan(config.compressor, config.vision.grid).frames_per_group
    patches_FPV = torch.empty(
        size, config.vision.grid**2, config.vision.width, dtype=kind, device="meta", requires_grad=True
    )
    state = {
        name: torch.empty_like(tensor, device="meta", dtype=kind if tensor.is_floating_point() else None)
        for name, tensor in [*compressor.named_parameters(), *compressor.named_buffers()]
    }
    for name, parameter in compressor.named_parameters():
        state[name].requires_grad_(parameter.requires_grad)
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        functional_call(compressor, state, (patches_FPV,))
    own = {tensor.untyped_storage()._cdata for tensor in state.values()}
    bytes_of_group = sum(storage.nbytes() for number, storage in storages.items() if number not in own)
    return config.data.batch * frames / size * bytes_of_group / config.strategy.context


def _of(model: nn.Module, part: str) -> list[nn.Parameter]:
    module = getattr(model, part, None)
    return list(module.parameters()) if isinstance(module, nn.Module) else []
