"""What the headers of media say, asked once a file."""

import contextlib
import json
import os
import stat
from hashlib import blake2b
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from vxl.atomic import write_file
from vxl.data.sample import Media
from vxl.errors import DataError
from vxl.patience import patiently, read_patiently
from vxl.video.container import as_readable, not_media
from vxl.video.endings import frame_files
from vxl.video.image import BROKEN, image_formats
from vxl.video.limits import refuse_declared
from vxl.video.probe import probe

FORMAT = 3
# EXIF: the tag, and its values for images that lie on a side.
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)


def describe_media(media: Media, kind: str, name: str) -> dict[str, Any]:
    """The fields of a Visual that the header knows: frames, when they are shown, width, height.

    Raises:
        DataError: It is no video or image, or its header is damaged; names it.
    """
    if isinstance(media, str) and os.path.isdir(media):
        return _describe_folder(Path(media), kind)
    if kind == "image":
        return _describe_image(media, name)
    info = probe(media, name=name)
    fields: dict[str, Any] = {
        "frames": info.frames,
        "fps": info.fps,
        "seconds": round(info.seconds, 3),
        "width": info.width,
        "height": info.height,
    }
    # Most videos begin at once and have even frames: their lines stay short.
    return fields | {key: value for key in ("begins", "stamps") if (value := getattr(info, key))}


def _describe_folder(folder: Path, kind: str) -> dict[str, Any]:
    """Of a folder of frames; how many a second it has whoever names it must say: 0 here."""
    if kind == "image":
        raise DataError(f'{folder} is a folder.\n  name its files, or write  "video": "{folder.name}"')
    files = frame_files(folder)
    return {**_describe_image(str(files[0]), str(files[0])), "frames": len(files), "fps": 0.0}


def _describe_image(media: Media, name: str) -> dict[str, Any]:
    try:
        with Image.open(as_readable(media), formats=image_formats()) as image:
            width, height = image.size
            refuse_declared(name, 1, pixels=width * height)
            with contextlib.suppress(*BROKEN):  # damaged notes beside whole pixels
                # It is turned upright when it is read; of a TIFF, Pillow has turned the size already.
                if image.getexif().get(ORIENTATION) in SIDEWAYS and image.format != "TIFF":
                    width, height = height, width
    except BROKEN as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none that is known{not_media(media)}" if unknown else str(error)
        raise DataError(f"{name} is no image that can be read: {reason}") from error
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
        with contextlib.suppress(
            OSError, ValueError, RecursionError
        ):  # absent, or no cache of this version: asked anew
            content = json.loads(read_patiently(self.file))
            files = (
                content.get("files")
                if isinstance(content, dict) and content.get("format") == FORMAT
                else None
            )
            if isinstance(files, dict):
                self.known = {path: header for path, header in files.items() if _is_header(header)}

    def ask(self, path: str, kind: str) -> dict[str, Any]:
        """Header fields of `folder/path`.

        Raises:
            DataError: It does not exist or can't be read.
        """
        full = self.folder / path
        stamp = file_stamp(full)
        asked = path if kind == "video" else f"{kind} {path}"  # a video's facts are none of an image
        header: dict[str, Any] | None = self.known.get(asked)
        if header is None or header["stamp"] != stamp:
            self.asked += 1
            header = {"stamp": stamp, "info": {}, "bad": None}
            try:
                header["info"] = {**describe_media(str(full), kind, str(full)), "stamp": stamp}
            except DataError as error:
                header["bad"] = str(error)
            self.known[asked] = header
        if header["bad"]:
            raise DataError(header["bad"])
        return header["info"]

    def save(self) -> None:
        """Writes what was asked into the cache.

        Raises:
            DataError: The cache can't be written.
        """
        if self.asked:
            write_cache(self.file, json.dumps({"format": FORMAT, "files": self.known}).encode())
            self.asked = 0


def _is_header(header: Any) -> bool:
    """Whether this is what `Probes.ask` keeps of a file."""
    return (
        isinstance(header, dict)
        and {"stamp", "info", "bad"} <= header.keys()
        and isinstance(header["info"], dict)
        and (header["bad"] is None or isinstance(header["bad"], str))
    )


def file_stamp(path: Path) -> str:
    """What changes when a file is replaced: its size and time of change; of a folder, those of its frames.

    Raises:
        DataError: It can't be opened.
        LostError: Its disk did not answer for `data.patience` seconds.
    """
    try:
        status = patiently(lambda: os.stat(path), str(path))
        if stat.S_ISDIR(status.st_mode):
            files = patiently(lambda: [(f.name, f.stat()) for f in frame_files(path)], str(path))
            text = "".join(f"{name} {s.st_size} {s.st_mtime_ns}\n" for name, s in files)
            return blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be opened: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(status.st_mode):  # reading a pipe may never end
        raise DataError(f"{path} is a pipe or a device.\n  write a file there, or take its item out")
    return f"{status.st_size}-{status.st_mtime_ns}"


def write_cache(file: Path, data: bytes) -> None:
    """Writes a file of the cache.

    Raises:
        DataError: It can't be written; says how to name another folder.
    """
    try:
        write_file(file, data)
    except OSError as error:
        raise DataError(
            f"{file} can't be written: {error.strerror}.\n"
            "  name a folder that can:  paths.cache=FOLDER   (vxl shards:  --cache FOLDER)"
        ) from error
