"""What a run says about itself while it trains: numbers every few steps, to metrics.csv and the logger."""

import logging
import resource
import sys
import time
from collections import deque
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vxl.run.metrics import MetricsFile
from vxl.train.report.logger import Sink
from vxl.train.report.throughput import Flops
from vxl.train.step.module import Step

log = logging.getLogger(__name__)

# Questions over which the accuracy on training data is taken: the latest so many.
RECENT = 256


class Watch(Callback):
    """Measures every step and logs some.

    Args:
        metrics: The run's metrics.csv.
        sink: The logger beside it.
        every: Steps between rows; the first and the last step are logged too.
        flops: Counts the arithmetic of a step; None where the device's peak is unknown.
    """

    def __init__(self, metrics: MetricsFile, sink: Sink, every: int, flops: Flops | None) -> None:
        self.metrics = metrics
        self.sink = sink
        self.every = every
        self.flops = flops
        self.numbers: dict[str, float] = {}
        """The latest step in numbers, for the progress bar."""
        self.recent: deque[bool] = deque(maxlen=RECENT)
        self.on_gpu = False
        self.writes = True
        self.seconds = 0.0
        """Time spent training, over all starts of the run."""
        self.samples = 0
        self.visual_tokens = 0
        self.frames = 0
        self._mark = 0.0
        self._began = 0.0

    def record(self, step: int, numbers: dict[str, float]) -> None:
        """Writes numbers of a step everywhere; the first process alone does."""
        if not self.writes:
            return
        self.metrics.append(step, numbers)
        self.sink.log(numbers, step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.writes = trainer.is_global_zero
        self.on_gpu = pl_module.device.type == "cuda"
        self._mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The data is there: what passed since the last step was waiting for it."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the step up, and logs it if its turn has come."""
        now = time.perf_counter()
        wait, whole = self._began - self._mark, now - self._mark
        seen = cast(Step, pl_module.last)
        self.recent.extend(seen.answers)
        self.seconds += whole
        self.samples += seen.samples
        self.visual_tokens += seen.visual_tokens
        self.frames += seen.frames
        self.numbers = {
            "loss": seen.loss,
            "lr": max(seen.rates.values()),
            "grad_norm": seen.grad_norm,
            **{f"grad_norm/{part}": norm for part, norm in seen.part_norms.items()},
            **{f"lr/{part}": rate for part, rate in seen.rates.items()},
            "tokens_per_s": seen.tokens / whole,
            "frames_per_s": seen.frames / whole,
            "samples_per_s": seen.samples / whole,
            "data_wait": wait / whole,
            "peak_memory_bytes": float(peak_memory(pl_module.device)),
            "visual_tokens_a_sample": seen.visual_tokens / max(1, seen.samples),
            **{name: total / len(batch) for name, total in seen.drawn.items()},
        }
        if self.recent:
            self.numbers["accuracy"] = sum(self.recent) / len(self.recent)
        if self.flops is not None:
            self.numbers["mfu"] = self.flops.of(seen) / whole / self.flops.peak / trainer.world_size
        step = trainer.global_step
        if step % self.every == 0 or step in (1, trainer.max_steps):
            self.record(step, self.numbers)
        self._mark = time.perf_counter()

    def pause(self) -> None:
        """Leaves out what passed since the last step (a validation, a checkpoint)."""
        self._mark = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """What adds up over the starts of a run."""
        return {
            "seconds": self.seconds,
            "samples": self.samples,
            "visual_tokens": self.visual_tokens,
            "frames": self.frames,
            "recent": list(self.recent),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on adding up."""
        self.recent = deque(state_dict["recent"], maxlen=RECENT)
        self.seconds = state_dict["seconds"]
        self.samples = state_dict["samples"]
        self.visual_tokens = state_dict["visual_tokens"]
        self.frames = state_dict["frames"]


def peak_memory(device: torch.device) -> int:
    """The most memory held so far, in bytes: on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
