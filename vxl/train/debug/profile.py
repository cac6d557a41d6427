"""`debug=profile`: where a step's time goes, on one screen, and a trace of every kernel.

A few steps are timed, waiting for the device at each boundary between parts; a few more are traced without
such waits. Then the run stops as it was: no checkpoint is written, and without `debug=profile` it goes on.
"""

import io
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.markup import escape
from torch import nn
from torch.profiler import ProfilerActivity
from typing_extensions import override

from vxl.atomic import write_text
from vxl.table import Listing
from vxl.terminal.screen import Screen

# Steps that are not timed: kernels are chosen, memory is taken, blocks compiled.
WARM = 3
# Sections in the order in which a step meets them.
DATA, VISION, COMPRESSOR, LLM = "data wait", "vision", "compressor", "language model"
LOSS, BACKWARD, OPTIMIZER = "splice, head, loss", "backward", "optimizer"
BETWEEN, NUMBERS = "moving batches, norms", "numbers, validation"
SECTIONS = (DATA, VISION, COMPRESSOR, LLM, LOSS, BACKWARD, BETWEEN, OPTIMIZER, NUMBERS)
KERNELS = 12  # that the summary shows


class Profile(Callback):
    """Times and traces some steps, then stops the run. Last of the callbacks, with `first` before all others.

    Args:
        folder: Where trace.json (for chrome://tracing or ui.perfetto.dev) and summary.txt go.
        steps: How many steps are timed, and how many traced.
        warm: Steps before those.
    """

    def __init__(self, folder: Path, steps: int, warm: int = WARM) -> None:
        self.folder = folder
        self.steps = steps
        self.warm = warm
        self.first = _First(self)
        self.seconds = dict.fromkeys(SECTIONS, 0.0)
        """Time of the timed steps by section."""
        self.whole = 0.0
        """Time of all timed steps."""
        self.kernels: list[tuple[str, int, float]] = []
        """(name, calls, seconds) of the traced steps, the longest first."""
        self._seen = 0
        self._section: str | None = None
        self._since = self._began = 0.0
        self._device = torch.device("cpu")
        self._hooks: list[Any] = []
        self._profiler: Any = None
        self._marks: list[AbstractContextManager[Any]] = []

    @property
    def timing(self) -> bool:
        """Whether this step is a timed one."""
        return self.warm <= self._seen < self.warm + self.steps

    def switch(self, section: str) -> None:
        """A new section begins."""
        if self._section is None:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds[self._section] += now - self._since
        self._section, self._since = section, now

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Marks the parts of the model.
        self._device = pl_module.device
        model = pl_module.get_submodule("model")
        marked = {"vision": VISION, "compressor": COMPRESSOR, "llm": LLM}
        self._mark(model, LOSS)
        for name, part in model.named_children():
            if name in marked:
                self._mark(part, marked[name])

    @override
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        # Forward is over.
        self.switch(BACKWARD)

    @override
    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Backward is over.
        self.switch(BETWEEN)

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        # The gradient is there.
        self.switch(OPTIMIZER)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # The step is over: what comes next is waiting for data.
        self.switch(DATA)
        self._seen += 1
        if self._seen == self.warm:
            self._section, self._since = DATA, time.perf_counter()
            self._began = self._since
        elif self._seen == self.warm + self.steps:
            self.whole = self._since - self._began
            self._section = None
            self._profiler = torch.profiler.profile(activities=_activities(self._device))
            self._profiler.start()
        elif self._seen == self.warm + 2 * self.steps:
            self.finish()
            trainer.should_stop = True

    def finish(self) -> None:
        """Ends what was begun, also where the run had fewer steps than the profile wants."""
        if self._section is not None:
            self.whole, self._section = self._since - self._began, None
        if self._profiler is not None:
            self._profiler.stop()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._profiler.export_chrome_trace(str(self.folder / "trace.json"))
            self.kernels = _longest(self._profiler, self._device)
            self._profiler = None
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def show(self, console: Console) -> None:
        """Prints the summary and writes summary.txt."""
        self.finish()
        self.folder.mkdir(parents=True, exist_ok=True)
        timed = max(1, min(self.steps, self._seen - self.warm))
        traced = max(1, min(self.steps, self._seen - self.warm - self.steps))
        record = Screen(file=io.StringIO(), record=True, width=100)
        for screen in (console, record):
            self._sections(timed).show(screen)
            if self.kernels:
                self._kernels(traced).show(screen)
        write_text(self.folder / "summary.txt", record.export_text())

    def _sections(self, steps: int) -> Listing:
        table = Listing(f"where a step went (mean of {steps})", ("part", "ms a step", "share"))
        whole = self.whole or sum(self.seconds.values()) or 1.0
        for section in SECTIONS:
            seconds = self.seconds[section]
            table.add(section, f"{1000 * seconds / steps:.1f}", f"{seconds / whole:.1%}")
        table.end_section()
        table.add("all", f"{1000 * whole / steps:.1f}", "100.0%")
        return table

    def _kernels(self, steps: int) -> Listing:
        title = f"longest kernels (mean of {steps} more steps)"
        table = Listing(title, ("kernel", "calls", "ms a step"), words=("kernel",))
        for name, calls, seconds in self.kernels[:KERNELS]:
            table.add(escape(name), f"{calls / steps:.0f}", f"{1000 * seconds / steps:.2f}")
        return table

    def _mark(self, module: nn.Module, section: str) -> None:
        stack: list[tuple[str | None, Any]] = []

        def enter(*_: Any) -> None:
            mark = torch.profiler.record_function(section)
            mark.__enter__()
            stack.append((self._section, mark))
            self.switch(section)

        def leave(*_: Any) -> None:
            before, mark = stack.pop()
            self.switch(before or section)
            mark.__exit__(None, None, None)

        self._hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


class _First(Callback):
    """The end of the step itself, before the other callbacks have their turn; and the beginning."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # The data is there.
        self.profile.switch(BETWEEN)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # The optimizer is done.
        self.profile.switch(NUMBERS)


def _activities(device: torch.device) -> list[Any]:
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])


def _longest(profiler: Any, device: torch.device) -> list[tuple[str, int, float]]:
    """The kernels (on a CPU: operators) that took longest."""
    on_gpu = device.type == "cuda"
    rows = []
    for event in profiler.key_averages():
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        is_kernel = "CUDA" in str(event.device_type) if on_gpu else event.key not in SECTIONS
        if is_kernel and microseconds and event.key not in SECTIONS:
            rows.append((event.key, event.count, microseconds / 1e6))
    return sorted(rows, key=lambda row: -row[2])
