"""Files that file:// may name: below allowed folders alone, each known by the hash of its content."""

import hashlib
import os
import stat
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vxl.serve.request_error import RequestError

PIECE = 1 << 20
KNOWN = 4096
"""Files whose content's hash is remembered."""


class Files:
    """What file:// may read.

    Args:
        folders: Below which.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = [folder.expanduser().resolve() for folder in folders]
        self._known: dict[tuple[int, ...], str] = {}
        self._lock = threading.Lock()

    def find(self, url: str, where: str) -> Path:
        """The file that a URL names.

        Args:
            url: Of the scheme file.
            where: Its field in the request.

        Raises:
            RequestError: It is below no allowed folder, absent, or no file.
        """
        if not self.folders:
            raise RequestError(
                "file:// is not allowed here; the server allows folders with  files=FOLDER", where
            )
        parts = urlsplit(url)
        name = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not name.startswith("/") or "\0" in name:
            raise RequestError("expected: file:///PATH.", where)
        try:
            path = Path(os.path.realpath(name))
            if not any(path.is_relative_to(folder) for folder in self.folders):
                raise RequestError("file:// names nothing below an allowed folder.", where)
            if not stat.S_ISREG(path.stat().st_mode):
                raise RequestError(f"{path.name} is no file.", where)
        except OSError as error:
            raise RequestError(f"{Path(name).name}: {error.strerror or error}.", where) from error
        return path

    def content(self, path: Path) -> str:
        """SHA-256 of a file, worked out once as long as it does not change.

        Raises:
            OSError: It can't be read.
        """
        status = path.stat()
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            known = self._known.get(identity)
        if known is not None:
            return known
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        with self._lock:
            self._known[identity] = digest.hexdigest()
            while len(self._known) > KNOWN:
                del self._known[next(iter(self._known))]
        return digest.hexdigest()
