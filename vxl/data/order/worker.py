"""What a data worker does about signals and errors: it leaves them to its trainer.

A trainer saves and stops at the end of a step. SLURM and a terminal send their signals to whole groups
of processes. A worker that died of one would make its trainer fail within a step, before it could save.
"""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from functools import cache
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from vxl.errors import VxlError
from vxl.patience import set_patience


class Loader(DataLoader):
    """A DataLoader over `Told` data: an error for the user is raised as it was."""

    def __iter__(self) -> Iterator[Any]:  # ty: ignore[incompatible-method-override]
        for item in super().__iter__():
            if isinstance(item, VxlError):
                raise item
            yield item


class Told(IterableDataset):
    """Data whose last item is the error for the user that it ended with.

    What a worker raises, PyTorch makes a traceback's text of.
    """

    def __init__(self, data: IterableDataset) -> None:
        super().__init__()
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.data
        except VxlError as error:
            yield error

    def __len__(self) -> int:
        return len(self.data)  # ty: ignore[invalid-argument-type] (raises TypeError where it has none)


def begin_worker(worker: int, patience: float) -> None:
    """For a DataLoader's `worker_init_fn`: signals are left to the trainer, its patience is taken over."""
    set_patience(patience)
    leave_signals_to_trainer(worker)


def leave_signals_to_trainer(worker: int) -> None:
    """Ignores the signals that a group of processes gets."""
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)

    def first(number: int, frame: FrameType | None) -> None:
        """Ignores it, but not the next one: a loader ends a worker that hangs by SIGTERM, too."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, first)


@cache
def end_with_trainer() -> None:
    """Ends the workers when this process does.

    Python asks them to by one SIGTERM, which they leave to the trainer, and would wait for them forever.
    """
    atexit.register(_end_workers)


def _end_workers() -> None:
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
