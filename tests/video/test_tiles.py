"""Tiles of images, against the same with Pillow."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from vxl.errors import ConfigError, DataError
from vxl.video.tiles import TilesConfig, cut_into_views, grid_of, views_of
from vxl.video.transform import PixelSpec

SIZE = 56
PIXELS = PixelSpec(size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
UNIRES = TilesConfig(side=6)
VIDEO_XL = TilesConfig(side=49, most=49, single=False)
SIZES = [(60, 40), (56, 56), (200, 130), (31, 400), (640, 360), (57, 113), (1000, 1000), (3, 2)]


def noise(width: int, height: int) -> np.ndarray:
    """Soft noise, so that filters matter."""
    small = np.random.default_rng(0).integers(0, 256, (height // 3 + 2, width // 3 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def published(image: Image.Image, grids: list[tuple[int, int]]) -> list[np.ndarray]:
    """The LLaVA family's way, with Pillow."""
    best, best_fit, least = None, 0, math.inf
    for a, b in grids:
        w, h = a * SIZE, b * SIZE
        scale = min(w / image.width, h / image.height)
        fit = min(int(image.width * scale) * int(image.height * scale), image.width * image.height)
        if fit > best_fit or (fit == best_fit and w * h - fit < least):
            best, best_fit, least = (w, h), fit, w * h - fit
    assert best is not None
    w, h = best
    if w / image.width < h / image.height:
        inner = (w, min(math.ceil(image.height * (w / image.width)), h))
    else:
        inner = (min(math.ceil(image.width * (h / image.height)), w), h)
    canvas = Image.new("RGB", best)
    canvas.paste(image.resize(inner), ((w - inner[0]) // 2, (h - inner[1]) // 2))
    views = [image.resize((SIZE, SIZE))]
    views += [canvas.crop((x, y, x + SIZE, y + SIZE)) for y in range(0, h, SIZE) for x in range(0, w, SIZE)]
    return [np.asarray(view) for view in views]


@pytest.mark.parametrize("tiles", [UNIRES, VIDEO_XL], ids=["unires", "video_xl"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_views_are_the_published_ones(width: int, height: int, tiles: TilesConfig) -> None:
    image = noise(width, height)
    views = cut_into_views(torch.from_numpy(image.copy()).permute(2, 0, 1), PIXELS, tiles)
    expected = np.stack(published(Image.fromarray(image), tiles.grids()))
    assert views.shape == (views_of(width, height, SIZE, tiles), 3, SIZE, SIZE)
    difference = np.abs(views.permute(0, 2, 3, 1).numpy().astype(int) - expected.astype(int))
    assert difference.max() <= 4  # clipped between the passes, whose order differs
    assert difference.mean() < 0.2


def test_the_published_grids() -> None:
    assert len(UNIRES.grids()) == 36
    assert len(VIDEO_XL.grids()) == 200
    assert VIDEO_XL.grids()[:3] == [(1, 2), (1, 3), (1, 4)]


def test_a_wide_image_lies_across() -> None:
    assert grid_of(300, 100, SIZE, UNIRES) == (6, 2)
    assert grid_of(100, 300, SIZE, UNIRES) == (2, 6)


def test_the_base_view_may_be_left_out() -> None:
    image = torch.from_numpy(noise(200, 130).copy()).permute(2, 0, 1)
    without = TilesConfig(side=6, published_no_base=True)
    assert torch.equal(cut_into_views(image, PIXELS, without), cut_into_views(image, PIXELS, UNIRES)[1:])
    assert views_of(200, 130, SIZE, without) == views_of(200, 130, SIZE, UNIRES) - 1


def test_an_uncut_image_is_one_view() -> None:
    image = torch.from_numpy(noise(200, 130).copy()).permute(2, 0, 1)
    assert cut_into_views(image, PIXELS, TilesConfig()).shape == (1, 3, SIZE, SIZE)
    assert torch.equal(
        cut_into_views(image, PIXELS, TilesConfig())[0], cut_into_views(image, PIXELS, UNIRES)[0]
    )
    assert views_of(0, 0, SIZE, TilesConfig()) == 1


@pytest.mark.parametrize("settings", [{"side": -1}, {"side": 3, "most": 0}, {"side": 1, "single": False}])
def test_impossible_grids(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"number of tiles|no grid"):
        TilesConfig(**settings)


def test_an_image_without_a_size() -> None:
    with pytest.raises(DataError, match="0 x 0 pixels"):
        grid_of(0, 0, SIZE, UNIRES)
