"""Videos that are no file: a folder of frames, or segments of clips one after another."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vxl.errors import DataError
from vxl.video.decode import open_video, read
from vxl.video.endings import frame_files
from vxl.video.load import FrameStream, load_image
from vxl.video.probe import VideoInfo
from vxl.video.sample import Sampler
from vxl.video.transform import PixelSpec


class Virtual(ABC):
    """What can be watched without being a video file."""

    @property
    @abstractmethod
    def info(self) -> VideoInfo:
        """How long it is."""

    @abstractmethod
    def frames(self, indices: Sequence[int], pixels: PixelSpec | None) -> Tensor:
        """Its frames of ascending indices, uint8 [F, C, H, W]."""


class Placing(Virtual):
    """A video with something that is to be seen whichever frames are chosen."""

    @abstractmethod
    def among(self, indices: Sequence[int]) -> Virtual:
        """The same with that among the frames of these indices."""


class Chosen(Virtual):
    """A video of which frames were chosen before: all of them are shown."""

    @property
    @abstractmethod
    def shown_at(self) -> Sequence[float]:
        """The second of each."""


def stream_virtual(
    video: Virtual,
    sampler: Sampler,
    pixels: PixelSpec | None,
    *,
    piece: int,
    start: float | None = None,
    end: float | None = None,
) -> FrameStream:
    """The frames that a sampler chooses, in pieces of `piece`, made when they are asked for."""
    info = video.info
    if isinstance(video, Chosen):
        indices, seconds = list(range(info.frames)), list(video.shown_at)
    else:
        selection = sampler.select(info.frames, info.fps, start, end)
        indices, seconds = [int(index) for index in selection.indices], selection.seconds
    if isinstance(video, Placing):
        video = video.among(indices)

    def pieces() -> Iterator[Tensor]:
        for first in range(0, len(indices), piece):
            yield video.frames(indices[first : first + piece], pixels)

    return FrameStream(pieces(), seconds, info)


@dataclass(frozen=True)
class FrameFolder(Virtual):
    """A folder of frames, such as MVBench's of television series: `00001.jpg`, `00002.jpg`, …"""

    folder: Path
    fps: float = 3.0

    @cached_property
    def files(self) -> Sequence[Path]:
        """The frames, in order.

        Raises:
            DataError: There are none.
        """
        return frame_files(self.folder)

    @property
    def info(self) -> VideoInfo:
        """As if it were a file."""
        first = load_image(str(self.files[0]), None)
        return VideoInfo(len(self.files), self.fps, first.shape[2], first.shape[1])

    def frames(self, indices: Sequence[int], pixels: PixelSpec | None) -> Tensor:
        """Frames by number.

        Raises:
            DataError: One can't be read, or is of another size than the first and no size is wanted.
        """
        frames = [load_image(str(self.files[index]), pixels) for index in indices]
        other = next((n for n, frame in enumerate(frames) if frame.shape != frames[0].shape), None)
        if other is not None:
            raise DataError(
                f"{self.files[indices[other]]} is {tuple(frames[other].shape[1:])}, "
                f"{self.files[indices[0]].name} {tuple(frames[0].shape[1:])}: the size changes within the "
                "video.\n  read it at a fixed size"
            )
        return torch.stack(frames)


@dataclass(frozen=True)
class Part:
    """Some seconds of a video file."""

    file: str
    start: float
    seconds: float


@dataclass(frozen=True)
class Segments(Virtual):
    """Parts of files one after another: a video of any length that is never written.

    Every frame is the one that its file shows at that time, decoded when it is asked for.
    """

    parts: tuple[Part, ...]
    fps: float
    """Frames a second of the whole, whatever the files have."""
    width: int
    height: int

    @cached_property
    def ends_P(self) -> np.ndarray:
        """Seconds at which each part ends."""
        return np.cumsum([part.seconds for part in self.parts])

    @property
    def info(self) -> VideoInfo:
        """As if it were a file."""
        return VideoInfo(max(1, round(float(self.ends_P[-1]) * self.fps)), self.fps, self.width, self.height)

    def frames(self, indices: Sequence[int], pixels: PixelSpec | None) -> Tensor:
        """Frames by number; a file is opened once for all that follow one another in it.

        Raises:
            DataError: A file can't be read, or is shorter than its part.
        """
        # A frame stands for the time in its middle: so no rounding puts it on the other side of a seam.
        second_F = (np.asarray(indices) + 0.5) / self.fps
        part_F = np.minimum(np.searchsorted(self.ends_P, second_F, side="right"), len(self.parts) - 1)
        begin_F = self.ends_P[part_F] - np.array([self.parts[number].seconds for number in part_F])
        pieces = []
        for run in np.split(np.arange(len(part_F)), np.flatnonzero(np.diff(part_F)) + 1):
            part = self.parts[part_F[run[0]]]
            with open_video(part.file) as reader:
                numbers = frames_at(reader.info, part.start + second_F[run] - begin_F[run])
                pieces.append(read(reader, numbers, pixels))
        return torch.cat(pieces)


def frames_at(info: VideoInfo, second_F: np.ndarray) -> np.ndarray:
    """Numbers of the frames that a file shows at some seconds from its first frame."""
    second_F = second_F + 1e-6  # sums of seconds may fall short of a frame's own
    if info.times_F is None:
        number_F = (second_F * info.fps).astype(np.int64)
    else:
        number_F = np.searchsorted(info.times_F, second_F, side="right") - 1
    return np.clip(number_F, 0, info.frames - 1)
