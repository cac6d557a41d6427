"""Parts of a row that go through the model in one pass under `kv=vst`, and how far a row is."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ROOM = 1024
"""Tokens of text that `draw=adapt` leaves room for."""


@dataclass(frozen=True, eq=False)
class WindowSegment:
    """Columns [start, stop) of a row that go through the model in one pass."""

    start: int
    stop: int
    after: np.ndarray
    """Columns behind which a beacon follows, ascending."""
    stays: np.ndarray
    """Of each column, whether it stays in the cache."""

    @property
    def plain(self) -> bool:
        """Whether it is a pass like any other: no beacons, and everything stays."""
        return not len(self.after) and bool(self.stays.all())

    @property
    def kept(self) -> int:
        """Entries of the cache that are left of it."""
        return len(self.after) + int(self.stays.sum())


@dataclass(frozen=True)
class Progress:
    """How far a row is; replaced and never changed, since forks share it."""

    windows: int = 0
    """Windows so far."""
    item: int = -1
    """The video or image that may go on."""
    first: int = 0
    """Its first group."""
    rest: int = 0
    """Its visual tokens since the last beacon (published_partial)."""


class Fits(NamedTuple):
    """Says whether a video fits the length that the language model was trained for."""

    visual: int
    """Its visual tokens."""
    before: int
    """Entries before it."""
    window: int
    """Visual tokens of its largest window."""
    most: int

    def __call__(self, ratio: int) -> bool:
        """Whether it does with this ratio."""
        summaries = self.visual if ratio == 0 else -(-self.visual // ratio)
        return self.before + summaries + self.window + ROOM <= self.most


NOWHERE = np.empty(0, dtype=np.int64)


def merged(segments: list[WindowSegment]) -> list[WindowSegment]:
    """Plain neighbours as one."""
    fewer: list[WindowSegment] = []
    for segment in segments:
        if fewer and fewer[-1].plain and segment.plain:
            stays = np.ones(segment.stop - fewer[-1].start, dtype=bool)
            fewer[-1] = WindowSegment(fewer[-1].start, segment.stop, NOWHERE, stays)
        else:
            fewer.append(segment)
    return fewer
