"""What a data worker does about signals: nothing, since its trainer saves and stops at the end of a step.

SLURM and a terminal send their signals to whole groups of processes. A worker that died of one would make its
trainer fail in the middle of a step, before it could save.
"""

import signal
from types import FrameType


def leave_signals_to_trainer(worker: int) -> None:
    """For a DataLoader's `worker_init_fn`."""
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)

    def first(number: int, frame: FrameType | None) -> None:
        """Ignores it, but not the next one: a loader ends a worker that hangs by SIGTERM, too."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, first)
