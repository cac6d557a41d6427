"""`trainer.micro_batch=auto`: the largest micro-batch that fits into the GPU, at the same global batch.

Tries forward and backward passes of rows as long as they may get, with room for the optimizer's moments, by
bisection over the divisors of the rows that a rank has for a step. No weight is changed.
"""

import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vxl.compressor.base import plan
from vxl.data.batch.collate import Batch, Example, collate
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.distributed import gathered
from vxl.errors import ConfigError
from vxl.sequence.layout import Kind
from vxl.store import using
from vxl.train.config import TrainConfig
from vxl.train.sizes import LEAST_TEXT, fed_tokens, most_frames
from vxl.train.step.optimizer import moment_bytes
from vxl.vision.feature_cache import FeatureCache

log = logging.getLogger(__name__)


def with_micro_batch(
    config: TrainConfig, model: nn.Module, device: torch.device, limit: int | None = None
) -> TrainConfig:
    """The config with the largest `data.batch` that fits, and `trainer.accumulate` for the same global batch.

    Args:
        config: With trainer.micro_batch=auto.
        model: The model, its stage's parts frozen; it is moved to the device.
        device: Where it will train.
        limit: Bytes that activations may take; None: what the GPU has.

    Raises:
        ConfigError: Not even a single row fits, or there is neither a GPU nor a limit.
    """
    if device.type != "cuda" and limit is None:
        raise ConfigError(
            "trainer.micro_batch=auto tries what fits into a GPU, and this run has none.\n"
            "  type  trainer.micro_batch=given data.batch=ROWS"
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ConfigError(
            "trainer.micro_batch=auto tries a whole model in one process, and this strategy shards it.\n"
            "  type  trainer.micro_batch=given data.batch=ROWS"
        )
    model.to(device)
    rows = config.data.batch * config.trainer.accumulate
    of_number = next((p.element_size() for p in model.parameters() if p.requires_grad), 4)
    moments = round(sum(moment_bytes(model, config.optim, of_number).values()))
    fits_by_size: dict[int, bool] = {}

    def fits(size: int) -> bool:
        fits_by_size[size] = fits_in_memory(
            model, longest_rows(config, size), config.trainer.precision, device, limit, moments
        )
        return fits_by_size[size]

    largest = min(gathered(largest_that_fits(divisors(rows), fits) or 0))  # the same for all ranks
    if not largest:
        raise ConfigError(
            f"trainer.micro_batch=auto: not even one row of data.max_tokens={config.data.max_tokens} tokens "
            f"and video.max_frames={config.video.max_frames} frames fits.\n"
            "  allowed: shorter rows, llm.checkpointing=true, stage=lora trainer.frozen=bf16, more GPUs"
        )
    log.info(
        "micro-batch: %d rows, %d accumulated (global batch %d); tried %s",
        largest,
        rows // largest,
        rows,
        ", ".join(f"{size}: {'fits' if ok else 'too large'}" for size, ok in sorted(fits_by_size.items())),
    )
    return replace(
        config,
        data=replace(config.data, batch=largest),
        trainer=replace(config.trainer, accumulate=rows // largest),
    )


def divisors(rows: int) -> list[int]:
    """What divides a number, ascending."""
    return [size for size in range(1, rows + 1) if rows % size == 0]


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest of ascending sizes that fits, by bisection; None if none does."""
    low, high = -1, len(sizes)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(sizes[middle]):
            low = middle
        else:
            high = middle
    return None if low < 0 else sizes[low]


def longest_rows(config: TrainConfig, rows: int) -> Batch:
    """Rows as long as they may get: as many frames as fit, the rest supervised text."""
    shape, frames = plan(config.compressor, config.vision.grid), most_frames(config)
    groups = frames // shape.frames_per_group
    text = max(LEAST_TEXT, config.data.max_tokens - fed_tokens(config, frames))
    encoded = Encoded()
    for group in range(groups):
        encoded.visual([0] * shape.tokens_per_group, Kind.VISUAL, group, float(group))
    encoded.items.append(BatchedVisual("video", frames, groups))
    encoded.text([0])
    encoded.question[-1] = True
    encoded.text([0] * (text - 1), supervised=True)
    size = config.vision.pixels.size
    frames_FCHW = torch.zeros(frames, 3, size, size, dtype=torch.uint8)
    return collate([[Example(encoded, frames_FCHW)] for _ in range(rows)], pad=0)


def fits_in_memory(
    model: nn.Module,
    batch: Batch,
    precision: str,
    device: torch.device,
    limit: int | None = None,
    moments: int = 0,
) -> bool:
    """Whether a step with this micro-batch has enough memory; leaves weights and generators as they were.

    Args:
        model: Its stage's parts frozen.
        batch: The micro-batch.
        precision: `trainer.precision`.
        device: Where the model is.
        limit: Bytes that activations may take; None: what the GPU has, beside the moments.
        moments: Bytes that the optimizer keeps of the weights.
    """
    memory_limit = _Limit(limit) if limit is not None else nullcontext()
    mixed = precision == "bf16-mixed"
    kept: list[Tensor] = []
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            if limit is None:
                kept = [torch.empty(moments, dtype=torch.uint8, device=device)]
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=mixed)
            with using(FeatureCache, None), autocast, memory_limit:  # the tower is tried, too
                loss = model(batch.to(device)).loss_sum
            loss.backward()
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        model.zero_grad(set_to_none=True)
        kept.clear()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


class _Limit(AbstractContextManager[None]):
    """Counts what the forward pass keeps for the backward pass, and runs out of memory past a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.held[storage.data_ptr()] = storage.nbytes()
        if sum(self.held.values()) > self.limit:
            raise torch.OutOfMemoryError(f"more than {self.limit} bytes")
        return tensor

    def __enter__(self) -> None:
        self._hooks.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
