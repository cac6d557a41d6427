"""What a decoder shows: asked of the decoder itself, or read off a packet's first bytes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import av
import av.packet

from vxl.video.container import VideoSource, open_container, packets_of

# The decoder is only asked which frames come, not for their pixels: filters may be left out.
FAST = {"skip_loop_filter": "all", "skip_idct": "all"}


def shown_stamps(
    source: VideoSource,
    name: str,
    *,
    until: int | None = None,
    most: int | None = None,
    not_coded: set[int] | None = None,
) -> list[int | None]:
    """Time stamps of the frames that a decoder shows, read from the file's start; None for those without.

    Args:
        source: The video.
        name: What to call it in messages.
        until: The time stamp at which to stop; None for the file's end.
        most: Frames after which to stop; None for all.
        not_coded: Stamps of packets without a picture; what FFmpeg shows at them is the one before again.
    """
    stamps: list[int | None] = []
    for pts in _decoded(source, name):
        if not_coded and pts in not_coded:
            continue
        stamps.append(pts)
        if (until is not None and pts is not None and pts >= until) or len(stamps) == most:
            break
    return stamps


def rising(stamps: Sequence[int | None]) -> list[int] | None:
    """The stamps, where every frame has one, later than that of the frame before; else None."""
    known = [stamp for stamp in stamps if stamp is not None]
    rise = len(known) == len(stamps) and all(a < b for a, b in pairwise(known))
    return known if rise else None


def _decoded(source: VideoSource, name: str) -> Iterator[int | None]:
    """Yields the time stamp of each frame that is shown; what is damaged is passed over."""
    with open_container(source, name=name, options=FAST) as (container, stream, _):
        for packet in packets_of(container, stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                continue
            for frame in frames:
                yield frame.pts


def is_hidden(packet: av.packet.Packet, codec: str) -> bool:
    """Whether a VP8 or VP9 packet holds only an alternate reference frame, which is never shown."""
    if codec not in ("vp8", "vp9"):
        return False
    data = memoryview(packet)
    if codec == "vp8":
        return not data[0] & 0x10
    first, last = data[0], data[-1]
    if first >> 6 != 2 or last >> 5 == 6:  # no VP9 frame, or a superframe: one of its frames is shown
        return False
    profile = (first >> 5 & 1) | (first >> 4 & 1) << 1
    bits = first << 1 if profile == 3 else first  # profile 3 has a reserved bit before them
    return not bits & 0x08 and not bits & 0x02  # neither shows an existing frame nor this one
