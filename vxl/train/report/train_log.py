"""train.log: messages of vxl go to the run's file and to the screen."""

import contextlib
import logging
import warnings
from collections.abc import Generator
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from typing_extensions import override

from vxl.terminal.screen import prose


class _ToScreen(logging.Handler):
    """Prints messages; a command at the end of a line (`to send it:  COMMAND`) is never broken."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            for line in self.format(record).splitlines():
                text, gap, command = line.partition(":  ")
                if gap and cell_len(line) > self.console.width:
                    prose(self.console, f"{text}:")
                    self.console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
                else:
                    prose(self.console, line)
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def logged_to(file: Path, console: Console, first: bool) -> Generator[None]:
    """Messages of vxl go to the run's train.log and the screen; Lightning's are left out.

    Args:
        file: The run's train.log.
        console: The screen.
        first: Whether this is the first process; of the others only warnings are shown, nothing is written.
    """
    root = logging.getLogger("vxl")
    if not first:
        with _without_noise():
            yield
        return
    to_file = logging.FileHandler(file)
    to_file.handleError = lambda record: None  # a full disk stops the run where it matters, at the checkpoint
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handlers: list[logging.Handler] = [to_file, _ToScreen(console)]
    before = root.level
    root.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    try:
        with _without_noise():
            yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def _without_noise() -> Generator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        # PyTorch's, five lines before each validation where SLURM allows a process one core.
        warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
        # torchao's, of a cache of compiled steps.
        warnings.filterwarnings("ignore", message=".* does not implement _stable_hash_for_caching")
        yield
