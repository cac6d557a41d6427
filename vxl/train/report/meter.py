"""What a run says about itself while it trains: means over some steps, MFU among them.

One rule for metrics.csv, the logger, the progress bar and the closing table: a number is the mean of the
last `trainer.log_every` optimizer steps (of fewer, at the beginning). So between two rows of metrics.csv
every step counts once.
"""

import resource
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from vxl.logger.base import Sink
from vxl.run.metrics import MetricsFile
from vxl.train.report.throughput import Flops
from vxl.train.step.train_step import TrainStep

# Questions over which the accuracy on training data is taken: the latest so many.
RECENT = 256


@dataclass(frozen=True)
class StepReport:
    """One optimizer step in numbers, handed along at its end (vxl.train.step_end)."""

    step: int
    """Optimizer steps taken, this one included."""
    numbers: dict[str, float]
    """Means over the last `trainer.log_every` steps."""
    on_gpu: bool = False
    heldout: dict[str, float] = field(default_factory=dict)
    """Metrics of the validation after this step; empty where there was none."""

    def with_heldout(self, heldout: dict[str, float]) -> "StepReport":
        """The same with the metrics of a validation."""
        return replace(self, heldout=heldout)

    def metric(self, name: str | None) -> float | None:
        """A metric by its name in metrics.csv; None where it was not measured."""
        return {**self.numbers, **self.heldout}.get(name or "")


@dataclass(frozen=True)
class MeasuredStep:
    """What counts of one step in the means."""

    loss: float
    """Mean over the supervised tokens of the global batch."""
    supervised: int
    grad_norm: float
    part_norms: dict[str, float]
    drawn: dict[str, float]
    tokens: int
    visual_tokens: int
    frames: int
    samples: int
    seconds: float
    waited: float
    """Seconds of them spent waiting for data."""
    flops: float | None
    """Operations that the step required; None where the device's peak is unknown."""


class StepMeter(Callback):
    """Measures every step and logs some.

    Args:
        metrics: The run's metrics.csv.
        sink: The logger beside it.
        every: Steps between rows, and in a mean; the first and the last step have a row, too.
        flops: Counts the arithmetic of a step; None where the device's peak is unknown.
    """

    def __init__(self, metrics: MetricsFile, sink: Sink, every: int, flops: Flops | None) -> None:
        self.metrics = metrics
        self.sink = sink
        self.every = every
        self.flops = flops
        self.latest: deque[MeasuredStep] = deque(maxlen=every)
        self.recent: deque[bool] = deque(maxlen=RECENT)
        self.device = torch.device("cpu")
        self.writes = True
        self.seconds = 0.0
        """Time spent training, over all starts of the run."""
        self.device_seconds = 0.0
        """The same, times the devices of each start."""
        self.samples = 0
        self.visual_tokens = 0
        self.frames = 0
        self._mark = 0.0
        self._began = 0.0

    @property
    @override
    def state_key(self) -> str:
        return "Watch"  # the name under which checkpoints have kept it since the first one

    def record(self, step: int, numbers: dict[str, float]) -> None:
        """Writes numbers of a step everywhere, if there are any; the first process alone does."""
        if not self.writes or not numbers:
            return
        self.metrics.append(step, numbers)
        self.sink.log(numbers, step)

    def start(self, trainer: Trainer, device: torch.device) -> None:
        """Training begins, or goes on."""
        self.writes = trainer.is_global_zero
        self.device = device
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leaves out what passed since the last step (a validation, a checkpoint)."""
        self._mark = time.perf_counter()

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # The data is there: what passed since the last step was waiting for it.
        self._began = time.perf_counter()

    def measure(self, train_step: TrainStep, trainer: Trainer) -> StepReport:
        """Adds a step up, and logs the means if their turn has come."""
        now = time.perf_counter()
        whole = now - self._mark
        self.recent.extend(train_step.answers)
        self.seconds += whole
        self.device_seconds += whole * trainer.world_size
        self.samples += train_step.samples
        self.visual_tokens += train_step.visual_tokens
        self.frames += train_step.frames
        self.latest.append(
            MeasuredStep(
                loss=train_step.loss,
                supervised=train_step.supervised,
                grad_norm=train_step.grad_norm,
                part_norms=train_step.part_norms,
                drawn={name: total / train_step.micro_batches for name, total in train_step.drawn.items()},
                tokens=train_step.tokens,
                visual_tokens=train_step.visual_tokens,
                frames=train_step.frames,
                samples=train_step.samples,
                seconds=whole,
                waited=self._began - self._mark,
                flops=None if self.flops is None else self.flops.of(train_step),
            )
        )
        step = trainer.global_step
        numbers = {
            **means(self.latest),
            "lr": max(train_step.rates.values()),
            **{f"lr/{part}": rate for part, rate in train_step.rates.items()},
            "peak_memory_bytes": float(peak_memory(self.device)),
            "total/seconds": self.seconds,
            "total/device_hours": self.device_seconds / 3600,
            "total/samples": float(self.samples),
            "total/frames": float(self.frames),
            "total/visual_tokens": float(self.visual_tokens),
        }
        if self.recent:
            numbers["accuracy"] = sum(self.recent) / len(self.recent)
        if self.flops is not None:
            flops = sum(each.flops or 0.0 for each in self.latest)
            seconds = sum(each.seconds for each in self.latest)
            numbers["mfu"] = flops / seconds / self.flops.peak / trainer.world_size
        if step % self.every == 0 or step in (1, trainer.max_steps):
            self.record(step, numbers)
        return StepReport(step, numbers, self.device.type == "cuda")

    @override
    def state_dict(self) -> dict[str, Any]:
        return {  # what adds up over the starts of a run, and the steps that the next row counts
            "seconds": self.seconds,
            "device_seconds": self.device_seconds,
            "samples": self.samples,
            "visual_tokens": self.visual_tokens,
            "frames": self.frames,
            "recent": list(self.recent),
            "latest": [asdict(each) for each in self.latest],
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.recent = deque(state_dict["recent"], maxlen=RECENT)
        self.seconds = state_dict["seconds"]
        self.device_seconds = state_dict.get("device_seconds", self.seconds)  # earlier ones did not count it
        self.samples = state_dict["samples"]
        self.visual_tokens = state_dict["visual_tokens"]
        self.frames = state_dict["frames"]
        # Checkpoints from before means were logged have none.
        self.latest.extend(MeasuredStep(**values) for values in state_dict.get("latest", []))


def means(steps: Iterable[MeasuredStep]) -> dict[str, float]:
    """The means of some steps as metrics.

    The loss is a mean over supervised tokens, speeds are by the time of all steps together, norms and what
    the model drew are means over steps.
    """
    steps = list(steps)
    seconds = sum(step.seconds for step in steps)
    samples = max(1, sum(step.samples for step in steps))
    supervised = sum(step.supervised for step in steps)
    weighed = sum(step.loss * step.supervised for step in steps)
    part_norms = _over_steps([step.part_norms for step in steps])
    return {
        "loss": weighed / supervised if supervised else steps[-1].loss,
        "grad_norm": sum(step.grad_norm for step in steps) / len(steps),
        **{f"grad_norm/{part}": norm for part, norm in part_norms.items()},
        "tokens_per_s": sum(step.tokens for step in steps) / seconds,
        "frames_per_s": sum(step.frames for step in steps) / seconds,
        "samples_per_s": sum(step.samples for step in steps) / seconds,
        "data_wait": sum(step.waited for step in steps) / seconds,
        "visual_tokens_a_sample": sum(step.visual_tokens for step in steps) / samples,
        **_over_steps([step.drawn for step in steps]),
    }


def _over_steps(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the steps that have it (a ratio is drawn in some only)."""
    names = {name: None for row in rows for name in row}
    values_by_name = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in values_by_name.items()}


def peak_memory(device: torch.device) -> int:
    """The most memory held so far, in bytes: on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
