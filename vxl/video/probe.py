"""Opening a video and learning what is in it without decoding: frames, their order, key frames."""

import io
import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import av
import av.container
import av.packet
import av.stream
import av.video.stream
import numpy as np

from vxl.errors import DataError

log = logging.getLogger(__name__)

Source = str | os.PathLike[str] | bytes | BinaryIO
"""Where a video (or an image) is: a path, the bytes themselves, or an open binary file."""

# In these codecs a packet of data is one shown frame (VP8: or none, which its first byte says), so that
# packets can be numbered as frames are.
ONE_FRAME_A_PACKET = {"vp8", "h264", "hevc", "vp9", "av1", "mpeg2video", "mjpeg", "ffv1", "prores"}


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds. `frames` are those that a straight read shows, `fps` their average rate."""

    frames: int
    fps: float
    width: int
    height: int
    codec: str = ""

    @property
    def seconds(self) -> float:
        """How long the video is: frames / fps."""
        return self.frames / self.fps


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a file in the order in which they are shown.

    `pts_N` are their time stamps (units of the stream), `starts_N` the frame from which decoding has to start
    to reach each of them. Both are empty if the container does not say enough to seek exactly.
    """

    frames: int
    pts_N: np.ndarray = field(repr=False)
    starts_N: np.ndarray = field(repr=False)

    @property
    def seekable(self) -> bool:
        """Whether frames can be reached from key frames, with certainty which frame it is."""
        return len(self.pts_N) == self.frames > 0

    def position(self, pts: int | None) -> int | None:
        """The number of the frame with a time stamp; None if there is none."""
        if pts is None:
            return None
        position = int(np.searchsorted(self.pts_N, pts))
        return position if position < self.frames and self.pts_N[position] == pts else None


def probe(source: Source, *, name: str | None = None) -> VideoInfo:
    """Reads a video's header (and, where that does not say, its packets); nothing is decoded.

    Args:
        source: Path, bytes, or open file.
        name: What to call the video in messages, by default its path.

    Raises:
        DataError: Absent, not a video, without frames, or shorter than its header says.
    """
    with opened(source, name=name) as (container, stream, name):
        frames = header_frames(container, stream) or index_frames(container, stream, name).frames
        return describe(stream, frames, name)


@contextmanager
def opened(
    source: Source, *, name: str | None = None, threads: int = 1
) -> Generator[tuple[av.container.InputContainer, av.video.stream.VideoStream, str]]:
    """Opens a video for one use and closes it after: (container, its video stream, its name in messages).

    FFmpeg's errors inside the block become DataErrors that name the video.
    """
    name = name or source_name(source)
    container = None
    try:
        container = av.open(as_readable(source), mode="r", metadata_errors="replace")
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise DataError(f"{name}: no video in this file.\n  got: {kinds}\n  expected: a video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise DataError(f"{name}: this build of FFmpeg has no decoder for the file's video codec.")
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "SLICE" if threads == 1 else "AUTO"
        yield container, stream, name
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.\n  check the path, or the folder of the videos") from error
    except (av.FFmpegError, PermissionError, IsADirectoryError) as error:
        raise DataError(unreadable(source, name, error)) from error
    finally:
        if container is not None:
            container.close()


def unreadable(source: Source, name: str, error: Exception) -> str:
    """Words for a file that FFmpeg gives up on."""
    reason = getattr(error, "strerror", None) or str(error)
    size = source_bytes(source)
    got = "" if size is None else f"\n  got: {size:,} bytes"
    return (
        f"{name}: can't be read as a video: {reason}.{got}\n"
        "  expected: a whole mp4, mkv, webm or other video; if truncated: copy it again, or leave it out"
    )


def describe(stream: av.video.stream.VideoStream, frames: int, name: str) -> VideoInfo:
    """The facts about an opened video that has `frames` frames.

    Raises:
        DataError: There are none.
    """
    context = stream.codec_context
    size = f"{context.width}x{context.height}"
    if frames < 1:
        raise DataError(
            f"{name}: 0 frames in its video stream ({context.name}, {size}).\n  expected: at least 1 frame"
        )
    fps = float(stream.average_rate or stream.guessed_rate or 0.0)
    if fps <= 0.0:
        raise DataError(f"{name}: the file does not say how many frames a second it has ({frames} frames).")
    return VideoInfo(frames, fps, context.width, context.height, context.codec.canonical_name)


def header_frames(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> int:
    """Frames by the container's own table (mp4, mov), which stands in the header; 0 if there is none."""
    entries = stream.index_entries
    if not stream.frames or not entries or "mp4" not in container.format.name:
        return 0
    # A fragmented file's table holds only what was read so far; a cut file's table is whole, its data is not.
    shown, end = 0, 0
    for entry in entries:
        shown += not entry.is_discard
        end = max(end, entry.pos + entry.size)
    if len(entries) < stream.frames or end > container.size:
        return 0
    return shown


def packets_of(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[av.packet.Packet]:
    """A video stream's packets, from where the container stands."""
    try:
        yield from container.demux(stream)
    except IndexError as error:  # PyAV, where a packet names a stream that the header does not
        raise av.InvalidDataError(0, "damaged packets") from error


def index_frames(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, name: str
) -> FrameIndex:
    """Numbers the frames of a file by running over its packets (about 2 us each; nothing is decoded).

    The container is left at the end of the file.

    Raises:
        DataError: The header promises frames that the file does not hold.
    """
    codec = stream.codec_context.codec.canonical_name
    pts, keys, packets = [], [], 0
    failure: av.FFmpegError | None = None
    try:
        for packet in packets_of(container, stream):
            if packet.size == 0:  # the mark of the end
                continue
            packets += 1
            if packet.is_discard or (codec == "vp8" and not bytes(packet)[0] & 0x10):
                continue  # outside the edit list; VP8's alternate references are never shown
            pts.append(packet.pts)
            keys.append(packet.is_keyframe)
    except av.FFmpegError as error:
        failure = error
    expected = len(stream.index_entries)
    if failure is not None or ("mp4" in container.format.name and packets < expected):
        raise DataError(
            f"{name}: truncated: its header lists {expected or stream.frames} frames, the file ends after "
            f"{packets}.\n  got: {container.size:,} bytes\n  copy the file again, or leave it out"
        ) from failure
    index = _order(pts, keys, seekable=codec in ONE_FRAME_A_PACKET)
    promised = _tagged_seconds(stream)
    if promised is not None and index.seekable:
        held = float(index.pts_N[-1] * (stream.time_base or 0))
        if held < promised - 1.0:
            raise DataError(
                f"{name}: truncated: its header promises {promised:.1f} s of video, the frames end after "
                f"{held:.1f} s ({index.frames} frames).\n  got: {container.size:,} bytes\n"
                "  copy the file again, or leave it out"
            )
    return index


def _tagged_seconds(stream: av.video.stream.VideoStream) -> float | None:
    """How long the video stream is by its tag, which mkv and webm have instead of a table of frames."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds


def _order(pts: list[int | None], keys: list[bool], *, seekable: bool) -> FrameIndex:
    """Sorts packets, which come in the order of decoding, by time."""
    nothing = np.empty(0, dtype=np.int64)
    if not seekable or not pts or None in pts:
        return FrameIndex(len(pts), nothing, nothing)
    packet_pts_N = np.array(pts, dtype=np.int64)
    order_N = np.argsort(packet_pts_N, kind="stable")
    pts_N = packet_pts_N[order_N]
    if (np.diff(pts_N) <= 0).any():  # two frames with one time stamp can't be told apart
        return FrameIndex(len(pts), nothing, nothing)
    key_N = np.array(keys)[order_N]
    starts_N = np.maximum.accumulate(np.where(key_N, np.arange(len(pts_N)), 0))
    return FrameIndex(len(pts), pts_N, starts_N)


def source_name(source: Source) -> str:
    """What to call a source in messages."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source):,} bytes>"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return str(getattr(source, "name", "<file>"))


def source_bytes(source: Source) -> int | None:
    """Size of a source, where it is cheap to know."""
    if isinstance(source, bytes | bytearray | memoryview):
        return len(source)
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return os.path.getsize(path) if isinstance(path, str | os.PathLike) and os.path.isfile(path) else None


def as_readable(source: Source) -> str | BinaryIO:
    """What PyAV and Pillow open: a path, or a file at its start that can seek."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if not source.seekable():
        return io.BytesIO(source.read())
    source.seek(0)
    return source
