"""How much a file may declare before anything is allocated for it: frames, seconds, pixels.

A header of a few bytes can promise 10^9 frames, each of which costs memory in every table that is made of
them. No true file is near these limits; a file that is beyond one is refused by its own header.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from vxl.errors import DataError

MOST_FRAMES = 10_000_000
"""Of one video: 46 hours at 60 frames a second."""

MOST_SECONDS = 1_000_000.0
"""Of one video whose frames don't come evenly (it is looked at a thousand times a second): eleven days."""

MOST_PIXELS = 100_000_000
"""Of one image, or of a frame: 300 MB as RGB, and more than any camera takes."""

# Boxes of an mp4 on the way to the tables of its frames: one for all of it, or one a piece.
_WAY = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_FIRST = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_BOXES = 10_000_000
"""That are looked at in one file."""


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
    """Raises DataError where the tables of an mp4 declare more frames than the file has bytes, or too many.

    FFmpeg makes room for them as it opens or reads the file, so this is looked up before. The file is left at
    its start.
    """
    size = file.seek(0, 2)
    file.seek(0)
    frames = 0
    if file.read(8)[4:] in _FIRST:
        whole = pieces = 0
        for number, (kind, count) in enumerate(_tables(file, 0, size)):
            whole, pieces = (whole, pieces + count) if kind == b"trun" else (max(whole, count), pieces)
            if number == _BOXES:
                raise DataError(f"{name}: its header has more than {_BOXES:,} parts; leave it out")
        frames = max(whole, pieces)
    file.seek(0)
    if frames > size:
        raise DataError(
            f"{name}: its header declares {frames:,} frames, the file has {size:,} bytes.\n"
            "  it is damaged: copy it again, or leave it out"
        )
    refuse_declared(name, frames)


def _tables(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Of every box between two places its kind, and how many frames it declares."""
    while start < end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head[:8])
        body = start + 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
            body = start + 16
        stop = end if length == 0 else start + length
        if stop < body:
            return
        if kind in _WAY:
            yield from _tables(file, body, min(stop, end))
        file.seek(body)
        counted = file.read(12) if kind in (b"stsz", b"stz2", b"trun") else b""
        yield kind, int.from_bytes(counted[4:8] if kind == b"trun" else counted[8:], "big")
        start = stop
