"""Videos that are no file: a folder of frames, or segments of clips one after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from vxl.errors import DataError
from vxl.video.load import FrameStream, load_image
from vxl.video.probe import VideoInfo
from vxl.video.sample import Sampler
from vxl.video.transform import PixelSpec


class Virtual(Protocol):
    """What can be watched without being a video file."""

    @property
    def info(self) -> VideoInfo:
        """How long it is."""
        ...

    def frame(self, index: int, pixels: PixelSpec | None) -> Tensor:
        """Its n-th frame, uint8 [C, H, W]."""
        ...


@runtime_checkable
class Placing(Virtual, Protocol):
    """A video with something that is to be seen whichever frames are chosen."""

    def among(self, indices: Sequence[int]) -> Virtual:
        """The same with that among the frames of these indices."""
        ...


def is_virtual(media: Any) -> bool:
    """Whether a video is made of parts, and no file."""
    return hasattr(media, "frame") and hasattr(media, "info")


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
    selection = sampler.select(info.frames, info.fps, start, end)
    indices = [int(index) for index in selection.indices]
    if isinstance(video, Placing):
        video = video.among(indices)

    def pieces() -> Iterator[Tensor]:
        for first in range(0, len(indices), piece):
            yield torch.stack([video.frame(index, pixels) for index in indices[first : first + piece]])

    return FrameStream(pieces(), selection.seconds, info)


@dataclass(frozen=True)
class FrameFolder:
    """A folder of frames, such as MVBench's of television series: `00001.jpg`, `00002.jpg`, …"""

    folder: Path
    fps: float = 3.0

    @cached_property
    def files(self) -> Sequence[Path]:
        """The frames, in order.

        Raises:
            DataError: There are none.
        """
        files = sorted(
            path for path in self.folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        if not files:
            raise DataError(f"{self.folder} holds no frames.\n  expected: 00001.jpg, 00002.jpg, …")
        return files

    @property
    def info(self) -> VideoInfo:
        """As if it were a file."""
        first = load_image(str(self.files[0]), None)
        return VideoInfo(len(self.files), self.fps, first.shape[2], first.shape[1])

    def frame(self, index: int, pixels: PixelSpec | None) -> Tensor:
        """The n-th frame."""
        return load_image(str(self.files[index]), pixels)
