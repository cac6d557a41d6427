"""Which frames of a video are looked at, decided before anything is decoded."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from vxl.errors import ConfigError, DataError
from vxl.option.option import Option, option
from vxl.video.decoder.device import refuse_device
from vxl.video.limits import refuse_declared

# The rate of the video that stands for one whose frames don't come evenly: fine enough for any sampling rate.
VIRTUAL_FPS = 1000.0

# Seconds by which a frame may come late and still be the one that is meant.
JITTER = 0.02


@dataclass(frozen=True, kw_only=True)
class VideoConfig(Option):
    """Reading a video: which frames, with which decoder."""

    max_frames: int = 128
    """At most this many frames of a video (0: no limit)."""
    decoder: Literal["pyav", "opencv", "torchcodec"] = option("pyav", resumable=True)
    """What decodes: `pyav` is always there, the others come with extras of the same name."""
    device: Literal["cpu", "cuda"] = option("cpu", resumable=True)
    """Where frames are decoded and resized; `cuda`, with decoder=torchcodec, is NVDEC. Its pictures differ
    from the CPU's by rounding, as those of two decoders do: a run may go on with either."""
    published_average_rate: bool = option(False, later=True)
    """Take frame i for second i / average rate, as the family's code does; else the frames' own time stamps
    are read. Where frames come evenly, both are the same."""

    def __post_init__(self) -> None:
        if self.max_frames < 0:
            raise ConfigError(
                f"max_frames={self.max_frames}: must be 0 (no limit) or more.\n  e.g.  max_frames=128"
            )
        refuse_device(self.decoder, self.device)


@dataclass(frozen=True)
class Selection:
    """The frames that were chosen (ascending) and their times in seconds from the start, to 0.1 s."""

    indices: np.ndarray
    seconds: list[float]


class Sampler(ABC):
    """Chooses frames from a range of them: subclasses say which."""

    def __init__(self, config: VideoConfig) -> None:
        self.config = config

    def select(
        self,
        frames: int,
        fps: float,
        start: float | None = None,
        end: float | None = None,
        *,
        begins: float = 0.0,
        times_F: np.ndarray | None = None,
    ) -> Selection:
        """Chooses frames of a video, or of the segment between two times of it.

        Args:
            frames: How many frames the file has.
            fps: Their average rate.
            start: Where the segment begins, in seconds of the file; None for the video's start.
            end: Where it ends (exclusive), in seconds; None or more than there is for the video's end.
            begins: The second of the file at which its first frame is shown.
            times_F: Seconds of each frame from the first one; None where they come evenly, at i / fps.

        Returns:
            At least one index into the file; the seconds count from the file's start, those of a segment
            with a `start` from its first frame.

        Raises:
            DataError: There are no frames, none between `start` and `end`, or one of these is no number.
        """
        if self.config.published_average_rate:
            begins, times_F = 0.0, None
        first, last = frames_between(frames, fps, start, end, begins=begins, times_F=times_F)
        shift = begins if start is None else 0.0
        if times_F is None:
            chosen_F = self.choose(last - first, fps)
            return Selection(chosen_F + first, [round(shift + float(index) / fps, 1) for index in chosen_F])
        part_F = times_F[first:last] - times_F[first]
        stop = math.inf if end is None else end - begins
        span = max(min(stop, frames / fps) - float(times_F[first]), float(part_F[-1]) + 1 / VIRTUAL_FPS)
        chosen_F = self.choose_by_time(part_F, span)
        return Selection(chosen_F + first, [round(shift + float(second), 1) for second in part_F[chosen_F]])

    def choose_by_time(self, times_F: np.ndarray, length: float) -> np.ndarray:
        """Ascending indices of frames that don't come evenly, at least one.

        `choose` is asked about a video of the same length whose frames do come evenly, a thousand a second;
        for each that it chooses stands the frame that is shown at that time, once.

        Args:
            times_F: When each is shown, in seconds, from 0 on.
            length: When the last one ends.
        """
        chosen_F = self.choose(max(1, round(length * VIRTUAL_FPS)), VIRTUAL_FPS) / VIRTUAL_FPS
        # A frame that comes a little late is meant, not the one before.
        margin = min(JITTER, 0.5 * float(np.median(np.diff(times_F)))) if len(times_F) > 1 else 0.0
        shown_F = np.searchsorted(times_F, chosen_F + margin, side="right") - 1
        return np.unique(np.maximum(shown_F, 0)).astype(np.int64)

    @abstractmethod
    def choose(self, frames: int, fps: float) -> np.ndarray:
        """Ascending int64 indices, at least one, in `range(frames)`."""

    def _at_most(self, indices_F: np.ndarray, frames: int) -> np.ndarray:
        """Spreads `max_frames` indices over all frames where more than that were chosen."""
        most = self.config.max_frames
        return _spread(frames, most) if 0 < most < len(indices_F) else indices_F


@dataclass(frozen=True, kw_only=True)
class FpsConfig(VideoConfig):
    """So many frames a second, more of them for short videos: the rule of Video-XL-2."""

    _target_: str = "vxl.video.sample.Fps"
    fps: float = 1.0
    """Frames a second to aim at."""
    max_fps: int | None = 4
    """Short videos get up to this many frames a second, as long as max_frames allows; null: always fps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fps > 0.0:
            raise ConfigError(f"fps={self.fps}: must be more than 0.\n  e.g.  fps=1.0")
        if self.max_fps is not None and self.max_fps < 1:
            raise ConfigError(f"max_fps={self.max_fps}: must be 1 or more, or null.\n  e.g.  max_fps=4")


class Fps(Sampler):
    """Every s-th frame, s = round(file's fps / fps), as the Video-XL-2 code trains and evaluates.

    The rate is raised to a whole number h <= max_fps while h times as many frames fit into max_frames; more
    than max_frames are thinned out evenly. Python's `round` (half to even) is part of the rule.
    """

    config: FpsConfig

    def __init__(self, config: FpsConfig) -> None:
        super().__init__(config)

    def choose(self, frames: int, fps: float) -> np.ndarray:
        """Ascending indices of the frames to look at."""
        config = self.config
        indices_F = _every(frames, fps / config.fps)
        if config.max_fps is not None:
            higher = min(config.max_frames // len(indices_F), config.max_fps)
            if higher > config.fps:
                indices_F = _every(frames, fps / higher)
        return self._at_most(indices_F, frames)


@dataclass(frozen=True, kw_only=True)
class UniformConfig(VideoConfig):
    """max_frames frames spread evenly, first and last included: the rule of Video-XL and most benchmarks."""

    _target_: str = "vxl.video.sample.Uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_frames == 0:
            raise ConfigError("max_frames=0 with video=uniform: must be 1 or more.\n  e.g.  max_frames=128")


class Uniform(Sampler):
    """max_frames frames spread evenly over the video; all of them if it has no more than that."""

    def __init__(self, config: UniformConfig) -> None:
        super().__init__(config)

    def choose(self, frames: int, fps: float) -> np.ndarray:
        """Ascending indices of the frames to look at."""
        return _spread(frames, self.config.max_frames)

    def choose_by_time(self, times_F: np.ndarray, length: float) -> np.ndarray:
        """All frames where there are no more than max_frames, else those at even times."""
        if len(times_F) <= self.config.max_frames:
            return np.arange(len(times_F), dtype=np.int64)
        return super().choose_by_time(times_F, length)


def by_rate(video: VideoConfig) -> FpsConfig:
    """The rule `video=fps`, with what any rule says of frames and of decoding as it was."""
    if isinstance(video, FpsConfig):
        return video
    shared = {field.name for field in fields(VideoConfig)} - {"_target_"}
    return FpsConfig(**{name: getattr(video, name) for name in shared})


def with_sampling(
    video: VideoConfig, max_frames: int | None = None, fps: float | None = None, max_fps: int | None = None
) -> VideoConfig:
    """How videos are sampled, with other numbers; a rate makes it the rule `video=fps`.

    Args:
        video: As the model was trained.
        max_frames: Most frames of a video.
        fps: Frames a second to aim at.
        max_fps: Frames a second that short videos may get.
    """
    if max_frames is not None:
        video = replace(video, max_frames=max_frames)
    if fps is None and max_fps is None:
        return video
    video = by_rate(video)
    return replace(video, fps=video.fps if fps is None else fps, max_fps=max_fps or video.max_fps)


def frames_between(
    frames: int,
    fps: float,
    start: float | None,
    end: float | None,
    *,
    begins: float = 0.0,
    times_F: np.ndarray | None = None,
) -> tuple[int, int]:
    """(first, last + 1) of a video's frames from `start` until before `end`; see `Sampler.select`.

    Raises:
        DataError: There are no frames, none between `start` and `end`, or one of these is no number.
    """
    if frames < 1 or not 0.0 < fps < math.inf:
        raise DataError(
            f"a video of {frames} frames at {fps} frames/s.\n  expected: at least 1 frame, a rate > 0"
        )
    refuse_declared("a video", frames, 0.0 if times_F is None else frames / fps)
    for edge, second in (("start", start), ("end", end)):
        if second is not None and math.isnan(second):
            raise DataError(f"{edge}={second} is no time.\n  expected: seconds, e.g.  {edge}=2.5")
    length = frames / fps
    begin = 0.0 if start is None else start - begins
    stop = math.inf if end is None else end - begins
    if times_F is None:
        first, last = _between_even(frames, fps, begin, stop)
    else:
        first, last = _between(times_F, length, begin, stop)
    if last <= first:
        raise DataError(
            f"no frame between {start or 0.0:g} s and {begins + length if end is None else end:g} s of a "
            f"video of {begins + length:.1f} s ({frames} frames at {fps:g} frames/s).\n"
            "  expected: start < end and < length"
        )
    return first, last


def _every(frames: int, step: float) -> np.ndarray:
    """0, s, 2s, ... with s = step rounded half to even; all frames if the file is slower than asked for."""
    return np.arange(0, frames, max(1, round(step)), dtype=np.int64)


def _spread(frames: int, most: int) -> np.ndarray:
    """`most` indices from the first to the last of `frames`, evenly; all if there are no more."""
    if frames <= most:
        return np.arange(frames, dtype=np.int64)
    return np.linspace(0, frames - 1, most).astype(np.int64)  # astype cuts off: floor


def _between_even(frames: int, fps: float, start: float, end: float) -> tuple[int, int]:
    """(first, last + 1) of the frames from `start` until before `end`, where frame i is shown at i / fps."""
    # The margin keeps a segment's edge on the frame it was computed from (0.1 * 3 is more than 0.3).
    first, last = (
        frames if second * fps >= frames else math.ceil(max(second * fps, -1.0) - 1e-6)
        for second in (start, end)
    )
    return max(first, 0), last


def _between(times_F: np.ndarray, length: float, start: float, end: float) -> tuple[int, int]:
    """(first, last + 1) of the frames that begin from `start` until before `end`.

    Where none begins between them, it is the one that stands there all the time.
    """
    first, last = (int(np.searchsorted(times_F, second - 1e-6)) for second in (start, end))
    if first == last > 0 and start < min(end, length):
        return first - 1, first
    return first, last
