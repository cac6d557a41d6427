"""Which frames a decoder shows of a file, in what order and when; nothing is decoded where packets tell it.

A packet is not a frame: packets before the first key frame, pictures that need one before it, hidden
reference frames and repeated pictures are never shown. For most files the packets alone tell which frames
come out; where they don't (an irregular beginning, a codec with other rules), the decoder is asked.
"""

from dataclasses import dataclass, field

import av
import av.container
import av.packet
import av.video.stream
import numpy as np

from vxl.errors import DataError
from vxl.video.container import VideoSource, packets_of
from vxl.video.frame_times import never_falling
from vxl.video.promised import refuse_truncated
from vxl.video.shown_frames import is_hidden, rising, shown_stamps

# In these codecs a packet of data is one shown frame, or its first bytes say that it is none.
ONE_FRAME_A_PACKET = {"vp8", "h264", "hevc", "vp9", "av1", "mpeg2video", "mjpeg", "ffv1", "prores", "mpeg4"}

# MPEG-4 Visual: a packet this small (bytes) may be a "not coded" picture, which shows the one before again;
# one of NOT_CODED bytes at most can be nothing else.
SMALL, NOT_CODED = 32, 8

# Packets of an mp4 that are read to see whether the table in its header can be taken for the frames.
HEAD = 16

# Frames of interlaced video that are decoded to see whether a packet is a frame or a field.
CHECKED = 8


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a file in the order in which they are shown.

    `pts_N` are their time stamps (units of the stream; empty if the container has none to rely on),
    `starts_N` the frame from which decoding has to start to reach each of them (empty if that is not known),
    `last` how long the last one is shown by its packet (0: not said), and `told_apart` whether these are the
    packets' own stamps, each different from all others.
    """

    frames: int
    pts_N: np.ndarray = field(repr=False)
    starts_N: np.ndarray = field(repr=False)
    last: int = 0
    told_apart: bool = True

    @property
    def timed(self) -> bool:
        """Whether it is known when each frame is shown."""
        return len(self.pts_N) == self.frames > 0

    @property
    def stamped(self) -> bool:
        """Whether a frame can be told by its time stamp."""
        return self.timed and self.told_apart

    @property
    def seekable(self) -> bool:
        """Whether frames can be reached from key frames, with certainty which frame it is."""
        return self.stamped and len(self.starts_N) == self.frames

    def position(self, pts: int | None) -> int | None:
        """The number of the frame with a time stamp; None if there is none."""
        if pts is None:
            return None
        position = int(np.searchsorted(self.pts_N, pts))
        return position if position < len(self.pts_N) and self.pts_N[position] == pts else None


NOTHING = np.empty(0, dtype=np.int64)


def header_index(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> FrameIndex | None:
    """The index by an mp4's own table, which stands in the header, and its first packets.

    None where that is not enough to know every frame: no table (other containers), a table that is not whole,
    frames that do not come evenly, or a beginning that a decoder does not show. The container is left a few
    packets into the file if the table was promising.
    """
    entries = stream.index_entries
    codec = stream.codec_context
    if not stream.frames or "mp4" not in container.format.name or len(entries) < stream.frames:
        return None
    if codec.codec.canonical_name not in ONE_FRAME_A_PACKET or _is_interlaced(stream):
        return None
    # Decoding times that come evenly mean presentation times that do: they are the same ones, reordered.
    dts, end, smallest = [], 0, SMALL + 1
    for entry in entries:
        if entry.is_discard:
            return None
        dts.append(entry.timestamp)
        end = max(end, entry.pos + entry.size)
        smallest = min(smallest, entry.size)
    if end > container.size or (codec.codec.canonical_name == "mpeg4" and smallest <= SMALL):
        return None  # a cut file's table is whole, its data is not
    steps = np.diff(np.array(dts, dtype=np.int64))
    step = int(steps[0]) if len(steps) else 1
    if step <= 0 or (steps != step).any() or not entries[0].is_keyframe:
        return None
    first: int | None = None
    for number, packet in enumerate(packets_of(container, stream)):
        if packet.size == 0 or number == HEAD:
            break
        if packet.pts is None or packet.is_discard:
            return None
        first = packet.pts if first is None else first
        if packet.pts < first or (packet.pts - first) % step:
            return None
    if first is None:
        return None
    last = max(step, (stream.duration or 0) - step * (len(dts) - 1))
    return FrameIndex(len(dts), first + step * np.arange(len(dts), dtype=np.int64), NOTHING, last)


@dataclass
class _Packets:
    """What a walk over a file's packets gathers, in the order of decoding."""

    pts: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    not_coded: set[int] = field(default_factory=set)
    small: bool = False
    joined: bool = False
    """Whether decoding times fall back: another recording begins, whose stamps may be among the first's."""
    all: int = 0


def index_frames(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    name: str,
    source: VideoSource | None = None,
) -> FrameIndex:
    """Numbers the frames of a file by running over its packets (about 2 us each).

    Decodes where the packets don't tell which frames are shown. The container is left at the end of the file.

    Args:
        container: An opened file, at its start.
        stream: Its video.
        name: What to call it in messages.
        source: What it was opened from, to open it again for decoding; None for the container's own name.

    Raises:
        DataError: The header promises frames that the file does not hold.
    """
    codec = stream.codec_context.codec.canonical_name
    packets = _walk(container, stream, name, codec)
    again = container.name if source is None else source
    index = _by_packets(packets, container, codec)
    if index is None or (index.stamped and _is_interlaced(stream) and not _agrees(index, again, name)):
        index = _by_decoding(packets, stream, again, name)
    refuse_truncated(index.pts_N, index.last, container, stream, name)
    return index


def _walk(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, name: str, codec: str
) -> _Packets:
    packets = _Packets()
    dts: int | None = None
    failure: av.FFmpegError | None = None
    try:
        for packet in packets_of(container, stream):
            if packet.size == 0:  # the mark of the end, or AVI's "as before"
                continue
            packets.all += 1
            packets.joined |= dts is not None and packet.dts is not None and packet.dts < dts
            dts = packet.dts
            if packet.is_discard or is_hidden(packet, codec):
                continue  # outside the edit list, or a reference frame that is never shown
            if codec == "mpeg4" and packet.size <= SMALL:
                packets.small = True
                if packet.size <= NOT_CODED and packet.pts is not None:
                    packets.not_coded.add(packet.pts)
            packets.pts.append(packet.pts)
            packets.keys.append(packet.is_keyframe)
            packets.durations.append(packet.duration or 0)
    except av.FFmpegError as error:
        failure = error
    expected = len(stream.index_entries)
    if failure is not None or ("mp4" in container.format.name and packets.all < expected):
        raise DataError(
            f"{name}: truncated: its header lists {expected or stream.frames} frames, the file ends after "
            f"{packets.all}.\n  got: {container.size:,} bytes\n  copy the file again, or leave it out"
        ) from failure
    return packets


def _by_packets(packets: _Packets, container: av.container.InputContainer, codec: str) -> FrameIndex | None:
    """The index if each packet is a frame; None where a decoder must be asked."""
    if codec not in ONE_FRAME_A_PACKET or packets.small or True not in packets.keys:
        return None if packets.pts else FrameIndex(0, NOTHING, NOTHING)
    if not packets.keys[0] or packets.joined:
        return None
    if "avi" in container.format.name and not all(packets.keys):
        # AVI has no presentation times; those that FFmpeg makes up are in disorder where there are B-frames.
        return FrameIndex(len(packets.pts), NOTHING, NOTHING, 1)
    first = packets.pts[0]
    if first is None or any(pts is None or pts < first for pts in packets.pts):
        return None
    return _ordered([pts for pts in packets.pts if pts is not None], packets.keys, packets.durations)


def _ordered(pts: list[int], keys: list[bool], durations: list[int]) -> FrameIndex | None:
    """Sorts packets, which come in the order of decoding, by time; None if two have the same."""
    order_N = np.argsort(np.array(pts, dtype=np.int64), kind="stable")
    pts_N = np.array(pts, dtype=np.int64)[order_N]
    if (np.diff(pts_N) <= 0).any():
        return None
    key_N = np.array(keys)[order_N]
    starts_N = np.maximum.accumulate(np.where(key_N, np.arange(len(pts_N)), 0))
    return FrameIndex(len(pts), pts_N, starts_N, durations[int(order_N[-1])])


def _by_decoding(
    packets: _Packets,
    stream: av.video.stream.VideoStream,
    source: VideoSource,
    name: str,
) -> FrameIndex:
    """The index by what the decoder shows.

    Where only the beginning is irregular (the file was cut out of a longer one), no more than that is
    decoded: from the first key frame's time on, each packet is a frame.
    """
    codec = stream.codec_context.codec.canonical_name
    pts_of, keys, interlaced = packets.pts, packets.keys, _is_interlaced(stream)
    one_frame_a_packet = codec in ONE_FRAME_A_PACKET and not packets.small and not interlaced
    if one_frame_a_packet and True in keys and not packets.joined:
        key = keys.index(True)
        first = pts_of[key]
        if first is not None:
            numbers = [n for n, pts in enumerate(pts_of) if pts is not None and pts >= first and n >= key]
            late = [pts for n, pts in enumerate(pts_of) if n < key and pts is not None and pts >= first]
            index = _ordered(
                [pts for n in numbers if (pts := pts_of[n]) is not None],
                [keys[n] for n in numbers],
                [packets.durations[n] for n in numbers],
            )
            rest_has_times = all(pts is not None for pts in pts_of[_second_key(keys, key) :])
            if index is not None and not late and rest_has_times:
                head = rising(shown_stamps(source, name, until=first))
                if head and head[-1] == first:
                    return _with_head(head[:-1], index)
    shown = shown_stamps(source, name, not_coded=packets.not_coded)
    stamps = rising(shown)
    if stamps is None:  # frames are told by counting them, and those that repeat a picture count
        shown = shown_stamps(source, name) if packets.not_coded else shown
        pts_N = never_falling(shown, float(stream.time_base or 1))
        return FrameIndex(len(shown), NOTHING if pts_N is None else pts_N, NOTHING, told_apart=False)
    pts_N = np.array(stamps, dtype=np.int64)
    durations = dict(zip(packets.pts, packets.durations, strict=True))
    last = durations.get(stamps[-1], 0) if stamps else 0
    key_pts = {pts for pts, key in zip(packets.pts, packets.keys, strict=True) if key}
    key_N = np.array([pts in key_pts for pts in stamps], dtype=bool)
    starts_N = np.maximum.accumulate(np.where(key_N, np.arange(len(pts_N)), 0)) if len(pts_N) else NOTHING
    return FrameIndex(len(pts_N), pts_N, starts_N, last)


def _second_key(keys: list[bool], first: int) -> int:
    return next((n for n in range(first + 1, len(keys)) if keys[n]), len(keys))


def _with_head(head: list[int], index: FrameIndex) -> FrameIndex:
    """The index with frames in front, which only reading from the file's start reaches."""
    count = len(head)
    pts_N = np.concatenate([np.array(head, dtype=np.int64), index.pts_N])
    starts_N = np.concatenate([np.zeros(count, dtype=np.int64), index.starts_N + count])
    return FrameIndex(index.frames + count, pts_N, starts_N, index.last)


def _agrees(index: FrameIndex, source: VideoSource, name: str) -> bool:
    """Whether the first frames that come out of the decoder are those of the packets."""
    stamps = shown_stamps(source, name, most=CHECKED)
    return stamps == index.pts_N[: min(CHECKED, index.frames)].tolist()


def _is_interlaced(stream: av.video.stream.VideoStream) -> bool:
    """Whether packets may be fields: two of them are one frame."""
    return stream.codec_context.field_order > 1  # 0: not said, 1: progressive, more: the orders of fields
