"""Which files are videos and which are images: one list for writing, indexing, reading and asking."""

import re
from pathlib import Path

from vxl.errors import DataError
from vxl.patience import patiently

VIDEO_ENDINGS = [
    "mp4",
    "m4v",
    "mov",
    "qt",
    "webm",
    "mkv",
    "avi",
    "divx",
    "3gp",
    "3g2",
    "ts",
    "mts",
    "m2ts",
    "mpg",
    "mpeg",
    "m2v",
    "vob",
    "wmv",
    "asf",
    "flv",
    "f4v",
    "ogv",
    "mxf",
    "nut",
    "gif",
    "video",
]
"""Endings of files that FFmpeg reads as videos. `video` stands for one whose file had none of them."""

IMAGE_ENDINGS = [
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "png",
    "webp",
    "bmp",
    "dib",
    "tif",
    "tiff",
    "ppm",
    "pgm",
    "pbm",
    "pnm",
    "jp2",
    "avif",
    "image",
]
"""Endings of files that Pillow reads as images. `image` stands for one whose file had none of them."""

IMAGE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats behind those endings, by Pillow's names. It knows others, of which EPS starts Ghostscript."""


def media_kind(name: str) -> str | None:
    """ "video" or "image" by a file name's ending, in any case; None for anything else."""
    ending = name.rpartition("/")[2].rpartition(".")[2].lower()
    return "video" if ending in VIDEO_ENDINGS else "image" if ending in IMAGE_ENDINGS else None


def frame_files(folder: Path) -> list[Path]:
    """The images of a folder of frames, by the numbers in their names: 2.jpg comes before 10.jpg.

    Raises:
        DataError: There are none.
    """
    files = [
        file
        for file in patiently(lambda: list(folder.iterdir()), str(folder))
        if media_kind(file.name) == "image" and not file.name.startswith(".")
    ]
    if not files:
        raise DataError(f"{folder} holds no frames.\n  expected: 00001.jpg, 00002.jpg, …")
    return sorted(files, key=_by_number)


def _by_number(file: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", file.name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], file.name
