"""The progress bar: step, loss, speed, MFU, memory, time left. Lines where there is no terminal."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text
from typing_extensions import override

from vxl.train.report.meter import StepReport
from vxl.units import human_size, percent

# Share of a step from which on waiting for data is worth a word: more data.workers would help.
_WAITS = 0.1
# Columns that the bar itself keeps, with the spaces beside it.
_BAR = 12


class ProgressBar(Callback):
    """Shows how far a run is.

    Args:
        every: Steps between lines where the output is no terminal.
        console: Where to show it.
    """

    def __init__(self, every: int, console: Console) -> None:
        self.every = every
        self.console = console
        self._bar: Progress | None = None
        self._task: Any = None
        self._began = (0, 0.0)

    def open(self, step: int, steps: int) -> None:
        """Opens the bar at the step where the run begins or goes on."""
        self._began = (step, time.perf_counter())
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("step {task.completed}/{task.total}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=None),
                _Numbers(self.console),
                console=self.console,
                expand=True,
            )
            self._task = self._bar.add_task("", total=steps, completed=step, line="")
            self._bar.start()

    def show(self, report: StepReport, steps: int) -> None:
        """Moves the bar on, or prints a line if its turn has come.

        Args:
            report: The step, with the means that metrics.csv has.
            steps: Optimizer steps of the whole run.
        """
        step = report.step
        if self._bar is not None:
            self._bar.update(self._task, completed=step, line=self._line(report, steps))
        elif step % self.every == 0 or step in (1, steps):
            line = f"step {step}/{steps}  {self._line(report, steps)}"
            self.console.print(line, markup=False, soft_wrap=True)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _line(self, report: StepReport, steps: int) -> str:
        numbers = report.numbers
        parts = [f"loss {numbers['loss']:.3f}"]
        if "accuracy" in numbers:
            parts.append(f"accuracy {percent(numbers['accuracy'])}")
        parts += [f"{numbers['tokens_per_s']:,.0f} tokens/s", f"{numbers['frames_per_s']:,.0f} frames/s"]
        if "mfu" in numbers:
            parts.append(f"MFU {percent(numbers['mfu'])}")
        if report.on_gpu:
            parts.append(f"peak {human_size(numbers['peak_memory_bytes'])}")
        if numbers["data_wait"] > _WAITS:
            parts.append(f"waits for data {percent(numbers['data_wait'])}")
        steps_since = report.step - self._began[0]
        seconds_left = (time.perf_counter() - self._began[1]) / max(1, steps_since) * (steps - report.step)
        return "  ".join([*parts, f"ETA {_clock(seconds_left)}"])

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Numbers(ProgressColumn):
    """The numbers of the latest step: as many as the width allows, the time left always."""

    def __init__(self, console: Console) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self.console = console

    def render(self, task: Task) -> Text:
        room = self.console.width - len(f"step {task.completed}/{task.total}") - _BAR
        return Text(fitting(task.fields["line"], room))


def fitting(line: str, room: int) -> str:
    """A line of numbers without its last ones but the time left, so that it fits into `room` columns.

    Example:
        >>> fitting("loss 1.092  accuracy 23.1 %  866 tokens/s  ETA 0:40", 38)
        'loss 1.092  accuracy 23.1 %  ETA 0:40'
    """
    *parts, last_part = line.split("  ")
    while parts and len("  ".join([*parts, last_part])) > room:
        parts.pop()
    return "  ".join([*parts, last_part])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
