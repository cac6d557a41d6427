"""What a video holds, learned without decoding it where possible: frames, when each is shown, size, codec."""

import logging
from dataclasses import dataclass
from fractions import Fraction

import av
import av.container
import av.video.stream
import numpy as np

from vxl.errors import DataError
from vxl.video.container import VideoSource, open_container
from vxl.video.frame_index import FrameIndex, header_index, index_frames
from vxl.video.frame_times import LATE, STANDS, even_rate, last_duration, pack_times, unpack_times
from vxl.video.limits import refuse_declared

log = logging.getLogger(__name__)

# Formats in which each frame says how long it is shown, the last one too.
DELAYS = ("gif", "apng")


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds.

    `frames` are those that a decoder shows, `fps` is their average rate, `begins` the second of the file at
    which the first one is shown (0 in most files), `stamps` when each is shown, packed (`times_F` unpacks
    them); it is empty where frames come evenly, frame i at begins + i / fps. `seconds` is how long they last.
    """

    frames: int
    fps: float
    width: int
    height: int
    codec: str = ""
    begins: float = 0.0
    stamps: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """How long even frames last follows from the other facts."""
        if not self.seconds:
            object.__setattr__(self, "seconds", self.frames / self.fps)

    @property
    def times_F(self) -> np.ndarray | None:
        """Seconds from the first frame; None where frames come evenly."""
        return unpack_times(self.stamps) if self.stamps else None


def probe(source: VideoSource, *, name: str | None = None) -> VideoInfo:
    """Reads a video's header and, where that does not say it all, its packets (see `frame_index`).

    Args:
        source: Path, bytes, or open file.
        name: What to call the video in messages, by default its path.

    Raises:
        DataError: Absent, not a video, without frames, or shorter than its header says.
    """
    with open_container(source, name=name) as (container, stream, name):
        index = header_index(container, stream)
        if index is not None:
            return describe_video(container, stream, index, name)
    with open_container(source, name=name) as (
        container,
        stream,
        name,
    ):  # packets may have been read: begin again
        return describe_video(container, stream, index_frames(container, stream, name, source), name)


def describe_video(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, index: FrameIndex, name: str
) -> VideoInfo:
    """The facts about an opened video with these frames.

    Raises:
        DataError: There are none, or neither time stamps nor a header say when they are shown.
    """
    context = stream.codec_context
    width, height = context.width, context.height
    if index.frames < 1:
        raise DataError(
            f"{name}: 0 frames in its video stream ({context.name}, {width}x{height}).\n"
            "  expected: at least 1 frame"
        )
    codec, stated = context.codec.canonical_name, float(stream.average_rate or 0.0)
    if not index.timed:
        coded = float(stream.guessed_rate or 0.0)
        # A bare stream without a container has the rate that is coded in it; FFmpeg states 25 for all.
        stated = (stated if container.duration else coded) or stated or coded
        if stated <= 0.0:
            raise DataError(
                f"{name}: the file does not say how many frames a second it has ({index.frames} frames)."
            )
        return VideoInfo(index.frames, stated, width, height, codec)
    tick = stream.time_base or Fraction(1)
    begins = late_by(container, stream, float(int(index.pts_N[0]) * tick))
    times_F = (index.pts_N - index.pts_N[0]) * float(tick)
    rate, last = even_rate(times_F, stated), index.last * float(tick)
    if rate is not None and last - 1.0 / rate < STANDS:
        return VideoInfo(index.frames, rate, width, height, codec, begins)
    says = last > 0.0 and container.format.name in DELAYS
    length = float(times_F[-1]) + (last if says else last_duration(times_F, last, stated))
    stamps = pack_times(times_F) if index.frames > 1 else ""
    refuse_declared(name, index.frames, length)
    average = index.frames / length
    return VideoInfo(index.frames, average, width, height, codec, begins, stamps, length)


def late_by(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, first: float
) -> float:
    """The second of the file at which its video begins, 0 where it begins at once.

    mp4 and mkv count from their own 0; a stream that was recorded (MPEG-TS, fragments, a live mkv) counts
    from anywhere: there the file begins with the earliest of its streams.

    Args:
        container: The file.
        stream: Its video.
        first: The first frame's time stamp in seconds.
    """
    names = container.format.name
    counts_from_0 = ("mp4" in names and stream.frames > 0) or ("matroska" in names and container.duration)
    begin = 0.0 if counts_from_0 else (container.start_time or 0) / av.time_base
    return first - begin if first - begin > LATE else 0.0
