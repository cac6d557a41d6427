"""Decoded, resized frames on disk, shared by all runs, sweeps and evaluations that look at the same ones.

An entry is named by all that its pixels follow from: the video's content, the decoder, the size, the frames.
Whatever goes wrong with it, the frames are those of the video.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vxl.store import Records, Store, Writing, using
from vxl.video.probe import VideoInfo
from vxl.video.transform import PixelSpec

FORMAT = 1
SHORT = 64
"""A video of up to so many frames is kept whole, whichever of them are asked for."""
INFOS = 2048
"""Videos whose facts a process remembers."""


@dataclass(frozen=True)
class FrameCache(Store):
    """Where frames are kept."""

    suffix: ClassVar[str] = ".frames"
    what: ClassVar[str] = "frames"
    one: ClassVar[str] = "one video"
    otherwise: ClassVar[str] = "they are decoded each time"

    infos: dict[str, VideoInfo] = field(default_factory=dict, repr=False, compare=False)
    """What is known of videos without opening them."""

    def remember(self, video: str, info: VideoInfo) -> None:
        """Keeps a video's facts in this process."""
        if len(self.infos) >= INFOS:
            self.infos.pop(next(iter(self.infos)))
        self.infos[video] = info


def frames_kept(what: str, cache: str | Path, gib: float) -> AbstractContextManager[None]:
    """Inside, frames are kept where `what` says so.

    Args:
        what: "frames"; "features" for those of the tower too; or "none" for nothing.
        cache: paths.cache.
        gib: Most gibibytes.
    """
    kept = FrameCache(Path(cache).absolute() / "frames", gib) if what in ("frames", "features") else None
    return using(FrameCache, kept)


@dataclass(frozen=True)
class Entry:
    """Some frames of a video at a size.

    Args:
        cache: Where it is.
        video: What the pixels follow from besides size and numbers; see `identity_of`.
        pixels: The size.
        numbers_N: Which frames, ascending.
        device: Where they are wanted; the entry's own are bytes on disk.
    """

    cache: FrameCache
    video: str
    pixels: PixelSpec
    numbers_N: np.ndarray
    device: torch.device | str = "cpu"

    @functools.cached_property
    def records(self) -> Records:
        """Its file, a record a frame."""
        sized = (FORMAT, self.video, self.pixels.resize, self.pixels.size, torch.__version__)
        digest = blake2b(repr(sized).encode(), digest_size=16)
        digest.update(self.numbers_N.astype("<i8").tobytes())
        return Records(self.cache, digest.hexdigest(), len(self.numbers_N), 3 * self.pixels.size**2)

    def find(self, wanted_U: np.ndarray) -> Tensor | None:
        """Frames of ascending numbers, all of which it has, uint8 [U, C, H, W]; None where it is not there.

        On the CPU, frames that follow one another are a view of its file, and may be written to: it stays.
        """
        places_U = np.searchsorted(self.numbers_N, wanted_U)
        mapped = self.records.find(places_U.tolist())
        if mapped is None:
            return None
        count, length = self.records.count, self.records.length
        frames_N = torch.frombuffer(mapped, dtype=torch.uint8, count=count * length)
        frames_NCHW = frames_N.view(count, 3, self.pixels.size, self.pixels.size)
        first, last = int(places_U[0]), int(places_U[-1])
        if last - first + 1 == len(places_U):
            return frames_NCHW[first : last + 1].to(self.device)
        return frames_NCHW[torch.from_numpy(places_U)].to(self.device)

    def written(self, frames: Iterator[Tensor], unchanged: Callable[[], bool]) -> Iterator[Tensor]:
        """Passes its frames [1, C, H, W] on; when all have passed, it is there.

        Args:
            frames: All of them.
            unchanged: Whether the video is still the one that its name says.
        """
        with Writing(self.records) as writing:
            for frame_1CHW in frames:
                writing.add(memoryview(frame_1CHW.contiguous().cpu().numpy()))
                yield frame_1CHW
            if unchanged():
                writing.finish()
