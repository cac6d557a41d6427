"""The files that long videos are made of: scenes of real clips, and the same with a shape drawn on them."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw

from vxl.atomic import whole_folder, write_text
from vxl.data.clips.clips import encode_clip
from vxl.data.clips.drawn import COLOURS, RGB, SHAPES, WHITE, outline
from vxl.data.long.script import CORNERS, MIDDLE, Event, Split
from vxl.errors import ConfigError, DataError
from vxl.seeds import generator, permutation
from vxl.video.endings import media_kind
from vxl.video.load import stream_video
from vxl.video.sample import Fps, FpsConfig
from vxl.video.virtual import Part

log = logging.getLogger(__name__)

WIDTH, HEIGHT, FPS = 128, 72, 4
SCENE = 8.0
"""Seconds of the longest scene: real clips are cut into such."""
SHORTEST = 2.0
MOST_SCENES = 64
"""Scenes that are taken of one clip."""
GREY = (128, 128, 128)
LOOKS = 16
"""How often each shape is drawn in each colour at each place: on other frames (to train on, in other colours
and mirrored too), a little larger or smaller, not quite at the same spot. With one look a model learns the
frame instead of the shape."""
SMALLEST, FURTHEST = 0.8, 0.08
"""Of the sizes of a shape; and how far it may be from its spot, as a share of the picture's height."""
LIST = "scenes.json"


@dataclass(frozen=True)
class Scenes:
    """The files of a part of the data."""

    folder: Path
    backgrounds: Mapping[str, float]
    """Seconds of each file."""

    def drawn(self, event: Event, look: int, seconds: float) -> Part:
        """The part of a file in which a shape is shown in one of its looks, for so many seconds."""
        path = self.folder / drawn_name(event.colour, event.shape, event.place)
        return Part(str(path), look * frames_of(seconds) / FPS, seconds)


def frames_of(seconds: float) -> int:
    """Of a look, on file."""
    return max(1, round(seconds * FPS))


def drawn_name(colour: str, shape: str, place: str) -> str:
    """Name of the file with a shape at a place."""
    return f"{colour}-{shape}-{place.replace(' ', '-')}.mp4"


def read_scenes(place: Path, split: Split) -> Scenes:
    """The files that `write_scenes` wrote.

    Raises:
        DataError: They are not what was written.
    """
    folder = place / split
    try:
        lengths = json.loads((folder / LIST).read_text())
        return Scenes(folder, {str(name): float(seconds) for name, seconds in lengths.items()})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{folder / LIST} can't be read: {error}.\n  it is written again if you remove  {place}"
        ) from error


def clips_of(folder: Path, seed: int) -> dict[Split, list[Path]]:
    """The clips of each part of the data: a quarter of them, at least one, is held out.

    Raises:
        ConfigError: There are fewer than two.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    clips = [path for path in files if media_kind(path.name) == "video"]
    if len(clips) < 2:
        raise ConfigError(
            f"data=long finds {len(clips)} videos in {folder}; it needs two, one of which is held out.\n"
            "  name a folder with more:  data.folder=FOLDER"
        )
    order = [clips[n] for n in permutation(len(clips), seed, "long", "clips")]
    held_out = max(1, len(order) // 4)
    return {"held_out": order[:held_out], "train": order[held_out:]}


def digest_of(folder: Path, seed: int, seconds: float, size: float) -> str:
    """Names what is written: the clips, and the settings that scenes depend on."""
    digest = blake2b(repr((seed, seconds, size)).encode(), digest_size=6)
    digest.update(Path(__file__).read_bytes())
    for split, clips in clips_of(folder, seed).items():
        for path in clips:
            # Sizes, as data=clips has them: reading films whole would delay every start.
            digest.update(f"{split} {path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def write_scenes(place: Path, folder: Path, seed: int, seconds: float, size: float) -> None:
    """Writes the scenes of all clips, and one with each shape in each colour at each place.

    Args:
        place: Where they go.
        folder: The clips.
        seed: Of which clips are held out, and of the scenes that are drawn on.
        seconds: How long a shape is shown.
        size: Its height, as a share of the picture's.
    """
    with whole_folder(place) as part:
        for split, clips in clips_of(folder, seed).items():
            (part / split).mkdir()
            lengths: dict[str, float] = {}
            scenes: list[np.ndarray] = []
            for clip in clips:
                for number, frames_FHWC in enumerate(scenes_of(clip)):
                    name = f"{clip.stem}-{number:02d}.mp4"
                    (part / split / name).write_bytes(encode_clip(frames_FHWC, FPS))
                    lengths[name] = len(frames_FHWC) / FPS
                    scenes.append(frames_FHWC)
            if not lengths:
                raise DataError(f"{clips[0]} is shorter than {SHORTEST:g} s.\n  give longer clips")
            for name, frames_FHWC in _drawn_on(scenes, seconds, size, seed, split):
                (part / split / name).write_bytes(encode_clip(frames_FHWC, FPS))
            write_text(part / split / LIST, json.dumps(lengths, indent=1))


def scenes_of(clip: Path) -> Iterator[np.ndarray]:
    """A clip at FPS frames a second and the size of all scenes, scene by scene: uint8 frames_FHWC."""
    sampler = Fps(FpsConfig(fps=float(FPS), max_fps=None, max_frames=0))
    stream = stream_video(clip, sampler, None, piece=int(SCENE * FPS))
    for number, frames_FCHW in enumerate(stream.pieces):
        if number == MOST_SCENES:
            return
        if len(frames_FCHW) >= SHORTEST * FPS:
            small_FCHW = F.interpolate(frames_FCHW, size=(HEIGHT, WIDTH), mode="bicubic", antialias=True)
            yield small_FCHW.permute(0, 2, 3, 1).contiguous().numpy()


def _drawn_on(
    scenes: list[np.ndarray], seconds: float, size: float, seed: int, split: Split
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, frames) of every shape in every colour, at every corner or in the middle, in all its looks."""
    kinds: list[tuple[str, RGB, str]] = [
        (colour, rgb, corner) for colour, rgb in COLOURS.items() for corner in CORNERS
    ]
    kinds += [("white", WHITE, MIDDLE), ("grey", GREY, MIDDLE)]
    for colour, rgb, place in kinds:
        for shape in SHAPES:
            looks = []
            for look in range(LOOKS):
                chance = generator(seed, "long", "scene", split, colour, shape, place, look)
                frames_FHWC = scenes[chance.integers(len(scenes))]
                turned = (chance.integers(len(frames_FHWC)) + np.arange(frames_of(seconds))) % len(
                    frames_FHWC
                )
                smaller, (right, down) = chance.uniform(SMALLEST, 1), chance.uniform(-FURTHEST, FURTHEST, 2)
                moved = (round(right * HEIGHT), round(down * HEIGHT))
                ground_FHWC = frames_FHWC[turned % len(frames_FHWC)]
                if split == "train":  # few clips, and the held-out ones have other colours
                    ground_FHWC = ground_FHWC[:, :, :: chance.choice((1, -1)), chance.permutation(3)]
                looks.append(draw_on(ground_FHWC, shape, rgb, place, smaller * size, moved))
            yield drawn_name(colour, shape, place), np.concatenate(looks)


def draw_on(
    frames_FHWC: np.ndarray,
    shape: str,
    rgb: RGB,
    place: str,
    size: float,
    moved: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """The frames with a shape over them, with a dark edge so that it stands out from any picture.

    Args:
        frames_FHWC: uint8.
        shape: Which.
        rgb: Its colour.
        place: A corner, or the middle.
        size: Its height, as a share of the picture's.
        moved: Pixels to the right and down from there; never out of the picture.
    """
    height, width = frames_FHWC.shape[1:3]
    radius = size * height / 2
    x, y = width / 2, height / 2
    if place != MIDDLE:
        x = radius + 1 if "left" in place else width - radius - 1
        y = radius + 1 if "top" in place else height - radius - 1
    x, y = (
        float(np.clip(at + by, radius + 1, side - radius - 1))
        for at, by, side in ((x, moved[0], width), (y, moved[1], height))
    )
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon(outline(shape, x, y, radius), fill=255)
    edge = Image.new("L", (width, height))
    ImageDraw.Draw(edge).polygon(outline(shape, x, y, radius + 2), fill=255)
    drawn_FHWC = frames_FHWC.copy()
    drawn_FHWC[:, np.asarray(edge) > 0] = (10, 10, 14)
    drawn_FHWC[:, np.asarray(mask) > 0] = rgb
    return drawn_FHWC
