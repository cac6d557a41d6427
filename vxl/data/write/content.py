"""What a member of a shard is written from: bytes, files, objects, text, or frames to encode."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.errors import DataError
from vxl.video.encode import write_video
from vxl.video.endings import frame_files
from vxl.video.image import read_rgb


@dataclass(frozen=True)
class FramesToEncode:
    """A folder of frames, which becomes a video: a shard holds files."""

    folder: Path
    fps: float

    def encoded(self) -> bytes:
        """An mp4 of a quality that shows no loss.

        Raises:
            DataError: A frame can't be read, or has another size than the first.
        """
        mp4 = io.BytesIO()
        try:
            write_video(mp4, (read_rgb(str(file)) for file in frame_files(self.folder)), self.fps, crf=16)
        except DataError as error:
            raise DataError(f"{self.folder} can't become a video: {error}") from error
        return mp4.getvalue()


Content = bytes | Path | Mapping[str, Any] | str | FramesToEncode
"""Of a member: bytes, a file to copy, an object to write as JSON, text, or frames to encode."""


def size_of(content: Content) -> int:
    """Bytes of a member's file."""
    if not isinstance(content, Path):
        return len(encoded(content))
    try:
        return content.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise DataError(f"{content} can't be read: {getattr(error, 'strerror', None) or error}") from error


def open_content(content: Content) -> Any:
    """A binary file with a member's content."""
    return open(content, "rb") if isinstance(content, Path) else io.BytesIO(encoded(content))


def encoded(content: bytes | Mapping[str, Any] | str | FramesToEncode) -> bytes:
    """Content in bytes; objects as JSON in their own order of keys."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, FramesToEncode):
        return content.encoded()
    return (content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)).encode()
