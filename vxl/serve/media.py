"""What a URL of a request names: a file below an allowed folder, bytes, or frames, with its content's key."""

import hashlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from vxl.serve.config import ServeConfig
from vxl.serve.request import FramesWish, Visual
from vxl.serve.request_error import RequestError

PIECE = 1 << 20
KNOWN = 4096
"""Files whose content's hash is remembered."""


@dataclass(frozen=True)
class Media:
    """What is to be watched."""

    kind: Literal["video", "image"]
    source: Any
    """A path, bytes, an open file, or frames."""
    key: str
    """Of its content: equal keys are equal pixels."""
    name: str
    """What to call it in messages."""
    where: str
    """Its field in the request."""


class Files:
    """What file:// may read.

    Args:
        folders: Below which.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = [folder.expanduser().resolve() for folder in folders]
        self._known: dict[tuple[int, ...], str] = {}
        self._lock = threading.Lock()

    def open(self, visual: Visual) -> Media:
        """The file of a URL, hashed unless it is known.

        Raises:
            RequestError: It is below no allowed folder, absent, or no file.
        """
        path = self._allowed(visual)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise RequestError(f"{path.name} is no file.", visual.where)
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            with self._lock:
                content = self._known.get(identity)
            if content is None:
                content = _sha256(path)
                with self._lock:
                    self._known[identity] = content
                    while len(self._known) > KNOWN:
                        del self._known[next(iter(self._known))]
        except OSError as error:
            raise RequestError(f"{path.name}: {error.strerror or error}.", visual.where) from error
        return Media(visual.kind, str(path), content, path.name, visual.where)

    def _allowed(self, visual: Visual) -> Path:
        if not self.folders:
            raise RequestError(
                "file:// is not allowed here; the server allows folders with  files=FOLDER.", visual.where
            )
        parts = urlsplit(visual.url)
        name = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not name.startswith("/") or "\0" in name:
            raise RequestError("expected: file:///PATH.", visual.where)
        try:
            path = Path(name).resolve(strict=True)
            inside = any(path.is_relative_to(folder) for folder in self.folders)
        except (OSError, RuntimeError):
            path, inside = (
                Path(name),
                any(Path(os.path.normpath(name)).is_relative_to(folder) for folder in self.folders),
            )
            if inside:
                raise RequestError(f"{path.name}: no such file.", visual.where) from None
        if not inside:
            raise RequestError("file:// names nothing below an allowed folder.", visual.where)
        return path


class Opener:
    """Opens what requests name.

    Args:
        config: What is allowed.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.files = Files(config.files)

    def open(self, visual: Visual, wish: FramesWish) -> Media:
        """What a URL names; reads and hashes, and so takes its time.

        Raises:
            RequestError: Its kind is not allowed or unknown, or it can't be read.
        """
        scheme = visual.url.partition(":")[0].lower()
        if scheme == "file":
            return self.files.open(visual)
        raise RequestError("expected: file:///PATH.", visual.where)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
