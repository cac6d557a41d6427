"""What a data worker does about signals: nothing, since its trainer saves and stops at the end of a step.

SLURM and a terminal send their signals to whole groups of processes. A worker that died of one would make its
trainer fail in the middle of a step, before it could save.
"""

import atexit
import multiprocessing
import signal
from functools import cache
from types import FrameType


def leave_signals_to_trainer(worker: int) -> None:
    """For a DataLoader's `worker_init_fn`."""
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
