"""At which sample each data worker is, for the message of one that does not answer.

A worker notes it in memory that its trainer shares, as it can't say it any more when it hangs.
"""

import multiprocessing
import os
import time
from typing import Any

# Bytes of a note; longer names are cut.
_NOTE = 512
_NOTES: list[Any] = []
"""In a worker: its own note."""


class Whereabouts:
    """The notes of a loader's workers.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self.notes = [multiprocessing.RawArray("c", _NOTE) for _ in range(workers)]

    def begin(self, worker: int) -> None:
        """Called in a worker before its first sample."""
        _NOTES[:] = [self.notes[worker]]
        left_sample()

    def of(self, worker: int) -> str:
        """A worker in words: its process, and the sample that it is at."""
        note = self.notes[worker].value.decode(errors="ignore")
        if not note:
            return f"data worker {worker}, which has not begun"
        process, since, place = note.split("\n", 2)
        where = f"{time.monotonic() - float(since):.0f} s at {place}" if place else "between samples"
        return f"data worker {worker} (process {process}), {where}"


def at_sample(shard: str, sample: str) -> None:
    """Notes at which sample this worker is; nothing in a process that is none."""
    _note(f"sample {sample} of {shard}")


def left_sample() -> None:
    """Notes that this worker is between samples."""
    _note("")


def _note(place: str) -> None:
    for note in _NOTES:
        note.value = f"{os.getpid()}\n{time.monotonic()}\n{place}".encode()[: _NOTE - 1]
