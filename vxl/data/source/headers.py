"""What the headers of media say, asked once a file."""

import io
import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from vxl.atomic import write_file
from vxl.data.sample import Media
from vxl.errors import DataError
from vxl.video.probe import probe

VIDEO_SUFFIXES = ("mp4", "webm", "mkv", "mov", "avi")
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
# EXIF: the tag, and its values for images that lie on a side.
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)


def kind_of(name: str) -> str | None:
    """ "video" or "image" by the name's suffix; None for anything else."""
    suffix = name.rpartition(".")[2].lower()
    return "video" if suffix in VIDEO_SUFFIXES else "image" if suffix in IMAGE_SUFFIXES else None


def describe_media(media: Media, kind: str, name: str) -> dict[str, Any]:
    """The fields of a Visual that the header knows: frames, fps, seconds, width, height.

    Raises:
        DataError: It is no video or image, or its header is damaged; names it.
    """
    if kind == "image":
        return _describe_image(media, name)

    info = probe(media, name=name)
    size = {"width": info.width, "height": info.height}
    return {"frames": info.frames, "fps": info.fps, "seconds": round(info.seconds, 3), **size}


def _describe_image(media: Media, name: str) -> dict[str, Any]:
    file: str | BinaryIO = io.BytesIO(media) if isinstance(media, bytes) else media
    try:
        with Image.open(file) as image:
            width, height = image.size
            if image.getexif().get(ORIENTATION) in SIDEWAYS:  # it is turned upright when it is read
                width, height = height, width
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is no image that can be read: {error}") from error
    return {"frames": 1, "fps": 1.0, "seconds": 0.0, "width": width, "height": height}


class Probes:
    """Headers of the files of a folder, kept in the cache by path, size and time of change.

    Args:
        folder: The folder with the media.
        cache: `paths.cache`.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        name = blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
        self.file = cache / "probes" / f"{name}.json"
        self.known: dict[str, dict[str, Any]] = {}
        self.asked = 0
        if self.file.exists():
            self.known = json.loads(self.file.read_bytes())

    def ask(self, path: str, kind: str) -> dict[str, Any]:
        """Header fields of `folder/path`.

        Raises:
            DataError: It does not exist or can't be read.
        """
        full = self.folder / path
        try:
            status = os.stat(full)
        except OSError as error:
            raise DataError(f"{full} can't be opened: {error.strerror}") from error
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
        known: dict[str, Any] | None = self.known.get(path)
        if known is None or known["stamp"] != stamp:
            self.asked += 1
            known = {"stamp": stamp, "info": {}, "bad": None}
            try:
                known["info"] = describe_media(str(full), kind, str(full))
            except DataError as error:
                known["bad"] = str(error)
            self.known[path] = known
        if known["bad"]:
            raise DataError(known["bad"])
        return known["info"]

    def save(self) -> None:
        """Writes what was asked into the cache."""
        if self.asked:
            write_file(self.file, json.dumps(self.known).encode())
            self.asked = 0
