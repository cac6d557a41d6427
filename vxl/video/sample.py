"""Which frames of a video are looked at, decided before anything is decoded."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vxl.errors import ConfigError, DataError
from vxl.option.option import Option, option


@dataclass(frozen=True, kw_only=True)
class VideoConfig(Option):
    """Reading a video: which frames, with which decoder."""

    max_frames: int = 128
    """At most this many frames of a video (0: no limit)."""
    decoder: Literal["pyav", "opencv", "torchcodec"] = option("pyav", resumable=True)
    """What decodes: `pyav` is always there, the others come with extras of the same name."""

    def __post_init__(self) -> None:
        if self.max_frames < 0:
            raise ConfigError(
                f"max_frames={self.max_frames}: must be 0 (no limit) or more.\n  e.g.  max_frames=128"
            )


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
        self, frames: int, fps: float, start: float | None = None, end: float | None = None
    ) -> Selection:
        """Chooses frames of a video, or of the segment between two times of it.

        Args:
            frames: How many frames the file has.
            fps: Its average rate.
            start: Where the segment begins, in seconds; None for the file's start.
            end: Where it ends (exclusive), in seconds; None or more than there is for the file's end.

        Returns:
            At least one index into the file; the seconds count from the segment's first frame.

        Raises:
            DataError: There are no frames, or none between `start` and `end`.
        """
        if frames < 1 or not fps > 0.0:
            raise DataError(
                f"a video of {frames} frames at {fps} frames/s.\n  expected: at least 1 frame, a rate > 0"
            )
        # The margin keeps a segment's edge on the frame it was computed from (0.1 * 3 is more than 0.3).
        first = 0 if start is None else max(0, math.ceil(start * fps - 1e-6))
        last = frames if end is None else min(frames, math.ceil(end * fps - 1e-6))
        if last <= first:
            length = frames / fps
            raise DataError(
                f"no frame between {start or 0.0:g} s and {length if end is None else end:g} s of a video of "
                f"{length:.1f} s ({frames} frames at {fps:g} frames/s).\n  expected: start < end and < length"
            )
        chosen_F = self.choose(last - first, fps)
        return Selection(chosen_F + first, [round(float(index) / fps, 1) for index in chosen_F])

    @abstractmethod
    def choose(self, frames: int, fps: float) -> np.ndarray:
        """Ascending int64 indices, at least one, in `range(frames)`."""

    def _at_most(self, indices_F: np.ndarray, frames: int) -> np.ndarray:
        """Spreads `max_frames` indices over all frames where more than that were chosen."""
        most = self.config.max_frames
        if most > 0 and len(indices_F) > most:
            return np.linspace(0, frames - 1, most).astype(np.int64)  # astype cuts off: floor
        return indices_F


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
        return self._at_most(np.arange(frames, dtype=np.int64), frames)


def _every(frames: int, step: float) -> np.ndarray:
    """0, s, 2s, ... with s = step rounded half to even; all frames if the file is slower than asked for."""
    return np.arange(0, frames, max(1, round(step)), dtype=np.int64)
