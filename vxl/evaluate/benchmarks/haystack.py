"""Haystacks: videos of any length that are never written, with needles among the frames that are shown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vxl.errors import DataError
from vxl.option.files import CLIPS
from vxl.seeds import generator
from vxl.video.decode import open_video, read
from vxl.video.probe import VideoInfo, probe
from vxl.video.transform import PixelSpec, resize_FCHW
from vxl.video.virtual import Placing, Virtual

SEGMENT = 8.0
"""Seconds of a clip that stand one after another in a drawn haystack."""
FPS = 1.0
"""Frames a second of a haystack: what long videos are sampled at."""


@dataclass(frozen=True, eq=False)
class Needle:
    """Something to be found."""

    frames_FHWC: np.ndarray
    """uint8; shown in order, the last one stays."""
    depth: float
    """Where it goes, as a share of the frames that are shown: 0 the beginning, 1 the end."""


@dataclass(frozen=True, eq=False)
class Haystack(Placing):
    """A video of segments with needles in it; frames are made when they are asked for.

    Needles take the places of frames that the model is shown, whatever chooses those, as in V-NIAH: without
    that, a sampler of few frames would pass most needles by.
    """

    sources: tuple[str, ...]
    """Video files that take turns, in an order that the seed decides; or one film, read straight on."""
    seconds: float
    needles: tuple[Needle, ...] = ()
    needle_frames: int = 4
    """Frames that each needle is shown."""
    seed: int = 0
    placed: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Index of a frame: (needle, its frame), filled in by `among`."""

    @property
    def info(self) -> VideoInfo:
        """As if it were a file."""
        first = _info(self.sources[0])
        return VideoInfo(max(1, int(self.seconds * FPS)), FPS, first.width, first.height)

    def among(self, indices: Sequence[int]) -> Virtual:
        """The same with its needles among the frames of these indices."""
        needle_of_frame: dict[int, tuple[int, int]] = {}
        size = min(self.needle_frames, max(1, len(indices) // max(1, len(self.needles))))
        for number, first in enumerate(needle_places([n.depth for n in self.needles], len(indices), size)):
            needle_of_frame |= {int(indices[first + at]): (number, at) for at in range(size)}
        return replace(self, placed=needle_of_frame)

    def frames(self, indices: Sequence[int], pixels: PixelSpec | None) -> Tensor:
        """Frames by number, uint8 [F, C, H, W]: needles' or the haystack's."""
        return torch.stack([self._at(index, pixels) for index in indices])

    def _at(self, index: int, pixels: PixelSpec | None) -> Tensor:
        needle = self.placed.get(index)
        if needle is not None:
            number, at = needle
            frames_FHWC = self.needles[number].frames_FHWC
            frame_HWC = frames_FHWC[min(at, len(frames_FHWC) - 1)]
            frame_1CHW = torch.from_numpy(frame_HWC.copy()).permute(2, 0, 1)[None]
            if pixels is None:
                info = self.info
                pixels = PixelSpec(min(info.width, info.height), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
            return resize_FCHW(frame_1CHW, pixels)[0]
        second = index / FPS
        if len(self.sources) == 1:
            source, at_second = self.sources[0], second
        else:
            number = int(second // SEGMENT)
            chance = generator(self.seed, "haystack", number)
            source = self.sources[int(chance.integers(len(self.sources)))]
            at_second = second % SEGMENT
        info = _info(source)
        return _frame(source, int(at_second * info.fps) % info.frames, pixels)


def needle_places(depths: Sequence[float], frames: int, size: int) -> list[int]:
    """First frame of each needle among `frames`, at int(depth x frames), moved apart where two would meet.

    Raises:
        DataError: There are too few frames.
    """
    if size * len(depths) > frames:
        raise DataError(f"{len(depths)} needles of {size} frames do not fit into {frames} frames.")
    places: list[int] = []
    for number, depth in enumerate(sorted(depths)):
        least = places[-1] + size if places else 0
        most = frames - size * (len(depths) - number)
        places.append(min(max(int(depth * frames), least), most))
    order = sorted(range(len(depths)), key=lambda number: depths[number])
    return [places[order.index(number)] for number in range(len(depths))]


def clip_files(without: str | None = None) -> tuple[str, ...]:
    """The embedded real clips, without one of them."""
    names = [clip["video"] for clip in clip_facts()]
    return tuple(str(CLIPS / name) for name in names if name != without)


@lru_cache(maxsize=1)
def clip_facts() -> list[dict]:
    """What the embedded clips show and what may be asked about them.

    Raises:
        DataError: They are not there.
    """
    file = CLIPS / "clips.json"
    if not file.exists():
        raise DataError(
            f"benchmark=needle finds no {file}, the embedded clips.\n"
            "  name a film of your own:  benchmark.haystack=FILM.mp4"
        )
    return json.loads(file.read_text(encoding="utf-8"))


def clip_frames(name: str, seconds: Sequence[float]) -> np.ndarray:
    """Frames of an embedded clip at some seconds, uint8 frames_FHWC."""
    source = str(CLIPS / name)
    info = _info(source)
    indices = [min(int(second * info.fps), info.frames - 1) for second in seconds]
    with open_video(source) as reader:
        return read(reader, indices, None).permute(0, 2, 3, 1).numpy()


@lru_cache(maxsize=64)
def _info(source: str) -> VideoInfo:
    return probe(source)


@lru_cache(maxsize=256)
def _frame(source: str, index: int, pixels: PixelSpec | None) -> Tensor:
    with open_video(source) as reader:
        return read(reader, [index], pixels)[0]
