"""Images in more detail than a frame has: the whole image, and then tiles of it, each a view of its own.

"anyres" of the LLaVA family, as Video-XL and its successors use it ("unires"): of the grids of a x b tiles
the one that keeps most of the image's pixels and wastes the fewest of its own.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.video.transform import PixelSpec, resize_FCHW


@dataclass(frozen=True, kw_only=True)
class TilesConfig:
    """How an image becomes views; each of them is a group of visual tokens."""

    side: int = 0
    """Most tiles across, and most down, each of a frame's size; 0 shows the image as one view, uncut."""
    most: int | None = None
    """Most tiles of an image; null for side x side. Video-XL has side=49, most=49, single=false."""
    single: bool = True
    """Whether an image may be a single tile."""
    published_no_base: bool = False
    """Leave out the view of the whole image that comes before the tiles, as published."""

    def __post_init__(self) -> None:
        """There is a grid to choose."""
        if self.side < 0 or (self.most is not None and self.most < 1):
            raise ConfigError(
                f"side={self.side} most={self.most} is no number of tiles.\n"
                "  allowed: side 0 or more, most 1 or more\n  e.g.  prompt.images.side=6"
            )
        if self.side and not self.single and min(self.side, self.most or self.side) < 2:
            raise ConfigError(
                f"single=false leaves no grid of side={self.side} most={self.most}.\n  e.g.  single=true"
            )

    def grids(self) -> list[tuple[int, int]]:
        """The grids (tiles across, tiles down) to choose from."""
        sides = range(1, self.side + 1)
        most = self.most or self.side**2
        return [(a, b) for a in sides for b in sides if a * b <= most and (self.single or a * b > 1)]


def grid_of(width: int, height: int, size: int, tiles: TilesConfig) -> tuple[int, int]:
    """The grid (tiles across, down) for an image: most pixels of the image kept, then fewest wasted.

    Args:
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        size: Side of a tile.
        tiles: The grids to choose from; `tiles.side` is not 0.

    Raises:
        DataError: The image has no size.
    """
    if width < 1 or height < 1:
        raise DataError(f"an image of {width} x {height} pixels can't be cut into tiles.")

    def kept_and_wasted(grid: tuple[int, int]) -> tuple[int, int]:
        across, down = grid[0] * size, grid[1] * size
        scale = min(across / width, down / height)
        pixels = min(int(width * scale) * int(height * scale), width * height)
        return pixels, pixels - across * down

    return max(tiles.grids(), key=kept_and_wasted)


def views_of(width: int, height: int, size: int, tiles: TilesConfig) -> int:
    """How many views an image of this size becomes."""
    if not tiles.side:
        return 1
    across, down = grid_of(width, height, size, tiles)
    return across * down + (not tiles.published_no_base)


def cut_into_views(image_CHW: Tensor, pixels: PixelSpec, tiles: TilesConfig) -> Tensor:
    """The views of an image: all of it squeezed into a square, then its tiles row by row.

    For the tiles it keeps its aspect and stands in the middle of a black canvas.

    Args:
        image_CHW: uint8 RGB of any size, on the CPU.
        pixels: What the tower wants; its `size` is a tile's side.
        tiles: How it is cut.

    Returns:
        views_FCHW, uint8 at the tower's size.
    """
    if not tiles.side:
        return resize_FCHW(image_CHW[None], pixels)
    _, height, width = image_CHW.shape
    size = pixels.size
    across, down = grid_of(width, height, size, tiles)
    to_width, to_height = size * across, size * down
    if to_width / width < to_height / height:
        inner = (min(math.ceil(height * (to_width / width)), to_height), to_width)
    else:
        inner = (to_height, min(math.ceil(width * (to_height / height)), to_width))
    resized_1CHW = image_CHW[None]
    if inner != (height, width):
        resized_1CHW = F.interpolate(resized_1CHW, size=inner, mode="bicubic", antialias=True)
    canvas_CHW = torch.zeros(3, to_height, to_width, dtype=torch.uint8)
    top, left = (to_height - inner[0]) // 2, (to_width - inner[1]) // 2
    canvas_CHW[:, top : top + inner[0], left : left + inner[1]] = resized_1CHW[0]
    tiles_CDAHW = canvas_CHW.unflatten(2, (across, size)).unflatten(1, (down, size)).transpose(2, 3)
    tiles_FCHW = tiles_CDAHW.permute(1, 2, 0, 3, 4).flatten(0, 1)
    if tiles.published_no_base:
        return tiles_FCHW.contiguous()
    base_1CHW = resize_FCHW(image_CHW[None], replace(pixels, resize="squash"))
    return torch.cat([base_1CHW, tiles_FCHW])
