"""Images as RGB: upright, of any depth and kind, with errors that name the file."""

import contextlib
import struct
from functools import cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vxl.errors import DataError
from vxl.video.container import VideoSource, as_readable, not_media, source_name
from vxl.video.endings import IMAGE_FORMATS
from vxl.video.limits import MOST_PIXELS

# What Pillow raises for files that are damaged, or that it refuses to unpack.
BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip

# Bits of a grey level; cameras and medical images write 10, 12 or 14 of 16.
DEPTHS = (8, 10, 12, 14, 16, 24, 32)


@cache
def image_formats() -> list[str]:
    """The image formats that are read, as far as this Pillow has them."""
    Image.init()
    return [name for name in IMAGE_FORMATS if name in Image.OPEN]


def read_rgb(source: VideoSource, name: str | None = None) -> np.ndarray:
    """Pixels of an image as uint8 RGB [H, W, 3], as a viewer shows it.

    Raises:
        DataError: Absent, truncated, or not an image.
    """
    name = name or source_name(source)
    try:
        with Image.open(as_readable(source), formats=image_formats()) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"{name}: {image.width} x {image.height} pixels are too many.\n"
                    f"  allowed: {MOST_PIXELS:,} pixels; make it smaller"
                )
            image.load()
            return rgb_of(image)
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.\n  check the path, or the folder of the images") from error
    except BROKEN as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none that is known{not_media(source)}" if unknown else str(error)
        raise DataError(
            f"{name}: can't be read as an image: {reason}.\n  expected: jpg, png, webp, ..."
        ) from error


def rgb_of(image: Image.Image) -> np.ndarray:
    """An opened image's pixels as uint8 RGB [H, W, 3], upright.

    Transparency is left out, as the family's own loaders do: what is transparent shows the colour under it.
    """
    with contextlib.suppress(*BROKEN):  # damaged notes beside whole pixels: shown as stored
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(eight_bits(np.asarray(image)))
    return np.array(image.convert("RGB"))


def eight_bits(levels_HW: np.ndarray) -> np.ndarray:
    """Grey levels of more than 8 bits as uint8.

    Whole numbers are scaled by the depth that the largest one needs (8, 10, 12, 14, 16, 24 or 32 bits);
    fractions are white at 1, or at that depth where they are larger. Below 0 is black, and so is no number.
    """
    levels_HW = np.nan_to_num(levels_HW.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    most = float(levels_HW.max(initial=0.0))
    if most <= 1.0 and (levels_HW != np.floor(levels_HW)).any():
        white = 1.0
    else:
        white = next((2.0**bits - 1.0 for bits in DEPTHS if most <= 2.0**bits - 1.0), most)
    return np.round(np.clip(levels_HW / white, 0.0, 1.0) * 255.0).astype(np.uint8)
