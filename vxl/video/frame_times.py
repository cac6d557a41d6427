"""When frames are shown: times by the frames' own stamps, and the rate of those that come evenly."""

import base64
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from vxl.video.limits import MOST_FRAMES

# Containers that count milliseconds (mkv, webm, flv) put an even frame up to 1 ms beside its place.
EVEN = 0.0015

# A stream that begins later than this (seconds) begins late; less is the delay of an encoder's B-frames.
LATE = 0.5

# A last frame that is shown longer than the others by this (seconds) stands, as the end of a slide show.
STANDS = 0.5

# Stamps that fall back by more than this (seconds) begin another recording; by less, they are misplaced.
RESTART = 0.5

MICROSECOND = 1e-6


def never_falling(stamps: Sequence[int | None], tick: float) -> np.ndarray | None:
    """Time stamps of frames in the order in which they are shown, so that none is before the one in front.

    A frame without a stamp stands between its neighbours, one that is stamped too early is shown with the
    frame before it. Where stamps start again, as in recordings that were joined, they go on behind the last.

    Args:
        stamps: Of each frame, in units of `tick`.
        tick: Seconds.

    Returns:
        None where hardly any frame has one.
    """
    known = [number for number, stamp in enumerate(stamps) if stamp is not None]
    if 2 * len(known) < len(stamps) or not known:
        return None
    known_stamps = [stamp for stamp in stamps if stamp is not None]
    stamps_N = np.rint(np.interp(np.arange(len(stamps)), known, known_stamps)).astype(np.int64)
    steps_N = np.diff(stamps_N)
    forward_N = steps_N[steps_N > 0]
    usual = int(np.median(forward_N)) if len(forward_N) else 1
    stamps_N[1:] += np.cumsum(np.where(steps_N * tick < -RESTART, usual - steps_N, 0))
    return np.maximum.accumulate(stamps_N)


def even_rate(times_F: np.ndarray, stated: float) -> float | None:
    """The rate of frames that come evenly, so that frame i is shown at i / rate; None where they don't.

    Args:
        times_F: Seconds from the first frame, ascending.
        stated: Frames a second by the file's header, tried first; 0 where it says nothing.
    """
    last = len(times_F) - 1
    if last < 1:
        return stated if stated > 0.0 else None
    numbers_F = np.arange(last + 1)
    for rate in (stated, last / float(times_F[-1])):
        if rate > 0.0 and float(np.abs(times_F - numbers_F / rate).max()) <= EVEN:
            return rate
    return None


def last_duration(times_F: np.ndarray, stated: float, rate: float) -> float:
    """Seconds that the last frame is shown: its packet's, unless all others are longer; then their mean.

    Args:
        times_F: Seconds from the first frame, ascending.
        stated: What the packet says; 0 for nothing.
        rate: Frames a second by the file's header, for a single frame; 0 for nothing.
    """
    gaps_F = np.diff(times_F)
    if not len(gaps_F):
        return 1.0 / rate if rate > 0.0 else stated if stated > 0.0 else 1.0
    if 0.0 < stated >= gaps_F.min() - EVEN:
        return stated
    return float(gaps_F.mean())


def pack_times(times_F: np.ndarray) -> str:
    """Times as short text: whole microseconds from one frame to the next, compressed."""
    steps_F = np.diff(np.round(times_F / MICROSECOND).astype("<i8"), prepend=np.int64(0))
    return base64.b85encode(zlib.compress(steps_F.tobytes(), 9)).decode("ascii")


@lru_cache(maxsize=256)
def unpack_times(text: str) -> np.ndarray:
    """times_F, seconds from the first frame, of `pack_times`; read-only.

    Raises:
        ValueError: The text is damaged.
    """
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b85decode(text), 8 * MOST_FRAMES)
        if unpacking.unconsumed_tail:
            raise ValueError(f"frame times of more than {MOST_FRAMES:,} frames")
        steps_F = np.frombuffer(data, dtype="<i8")
    except zlib.error as error:
        raise ValueError(f"frame times can't be read: {error}") from error
    times_F = np.cumsum(steps_F) * MICROSECOND
    times_F.setflags(write=False)
    return times_F
