"""How much a file may declare before anything is allocated for it: frames, seconds, pixels.

A header of a few bytes can promise 10^9 frames, each of which costs memory in every table that is made of
them. No true file is near these limits; a file that is beyond one is refused by its own header.
"""

import struct
from typing import BinaryIO

from vxl.errors import DataError

MOST_FRAMES = 10_000_000
"""Of one video: 46 hours at 60 frames a second."""

MOST_SECONDS = 1_000_000.0
"""Of one video whose frames don't come evenly (it is looked at a thousand times a second): eleven days."""

MOST_PIXELS = 100_000_000
"""Of one image, or of a frame: 300 MB as RGB, and more than any camera takes."""

# Boxes of an mp4 on the way to the table of its frames, and how many are looked at of one level.
_WAY, _LOOK = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}, 256
_FIRST = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}


def refuse_declared(name: str, frames: int, seconds: float = 0.0, pixels: int = 0) -> None:
    """Raises DataError where a header declares more than a video can hold."""
    for what, value, most in (
        ("frames", frames, MOST_FRAMES),
        ("seconds", seconds, MOST_SECONDS),
        ("pixels a frame", pixels, MOST_PIXELS),
    ):
        if not value <= most:  # NaN, too
            raise DataError(
                f"{name}: its header declares {value:,.0f} {what}.\n"
                f"  allowed: {most:,.0f}; cut it, or leave it out"
            )


def refuse_table(file: BinaryIO, name: str) -> None:
    """Raises DataError where the table of an mp4 declares more frames than the file has bytes, or too many.

    FFmpeg makes the table as it opens the file, so this is looked up before. The file is left at its start.
    """
    size = file.seek(0, 2)
    file.seek(0)
    begin = file.read(8)
    frames = _frames(file, 0, size) if begin[4:] in _FIRST else 0
    file.seek(0)
    if frames > size:
        raise DataError(
            f"{name}: its header declares {frames:,} frames, the file has {size:,} bytes.\n"
            "  it is damaged: copy it again, or leave it out"
        )
    refuse_declared(name, frames)


def _frames(file: BinaryIO, start: int, end: int) -> int:
    """The most frames that a table between two places declares."""
    most = 0
    for _ in range(_LOOK):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head[:8])
        body = start + 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
            body = start + 16
        stop = end if length == 0 else start + length
        if stop <= start or (length and length < 8):
            break
        if kind in _WAY:
            most = max(most, _frames(file, body, min(stop, end)))
        elif kind in (b"stsz", b"stz2"):
            file.seek(body)
            table = file.read(12)
            most = max(most, int.from_bytes(table[8:12], "big"))
        start = stop
        if start >= end:
            break
    return most
