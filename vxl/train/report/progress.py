"""The progress bar: step, loss, speed, MFU, memory, time left. Lines where there is no terminal."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from vxl.train.report.watch import Watch

# Share of a step from which on waiting for data is worth a word: more data.workers would help.
_WAITS = 0.1


class ProgressBar(Callback):
    """Shows how far a run is.

    Args:
        watch: Has the numbers.
        every: Steps between lines where the output is no terminal.
        console: Where to show it.
    """

    def __init__(self, watch: Watch, every: int, console: Console) -> None:
        self.watch = watch
        self.every = every
        self.console = console
        self._bar: Progress | None = None
        self._task: Any = None
        self._began = (0, 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar at the step where the run begins or goes on."""
        self._began = (trainer.global_step, time.perf_counter())
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("step {task.completed}/{task.total}"),
                BarColumn(bar_width=None),
                _Numbers(table_column=Column(no_wrap=True)),
                console=self.console,
                expand=True,
            )
            self._task = self._bar.add_task(
                "", total=trainer.max_steps, completed=trainer.global_step, line=""
            )
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves it on."""
        step = trainer.global_step
        if self._bar is not None:
            self._bar.update(self._task, completed=step, line=self._line(step, trainer.max_steps))
        elif step % self.every == 0 or step in (1, trainer.max_steps):
            line = f"step {step}/{trainer.max_steps}  {self._line(step, trainer.max_steps)}"
            self.console.print(line, markup=False, soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes it."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes it."""
        self._stop()

    def _line(self, step: int, steps: int) -> str:
        numbers = self.watch.numbers
        parts = [f"loss {numbers['loss']:.3f}"]
        if "accuracy" in numbers:
            parts.append(f"accuracy {numbers['accuracy']:.2f}")
        parts += [f"{numbers['tokens_per_s']:,.0f} tokens/s", f"{numbers['frames_per_s']:,.0f} frames/s"]
        if "mfu" in numbers:
            parts.append(f"MFU {numbers['mfu']:.1%}")
        if self.watch.on_gpu:
            parts.append(f"peak {numbers['peak_memory_bytes'] / 2**30:.1f} GiB")
        if numbers["data_wait"] > _WAITS:
            parts.append(f"waits for data {numbers['data_wait']:.0%}")
        done = step - self._began[0]
        left = (time.perf_counter() - self._began[1]) / max(1, done) * (steps - step)
        return "  ".join([*parts, f"ETA {_clock(left)}"])

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Numbers(ProgressColumn):
    """The numbers of the latest step."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["line"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
