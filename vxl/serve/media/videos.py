"""Videos that the page offers: examples of a folder, and those that were dropped on it, up to a limit."""

import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Literal, NamedTuple

from vxl.serve.request_error import RequestError
from vxl.video.endings import media_kind

EXAMPLE, UPLOAD = "vxl:example/", "vxl:upload/"


class Offered(NamedTuple):
    """A video or an image of the page."""

    path: Path
    name: str
    kind: Literal["video", "image"]


class Videos:
    """What the page may show.

    Args:
        examples: A folder of videos; None for none.
        most: Bytes of one that is dropped.
        kept: Bytes of all that were dropped; the oldest go first.
    """

    def __init__(self, examples: Path | None, most: int, kept: int) -> None:
        self.most, self.kept = most, kept
        folder = None if examples is None else examples.expanduser()
        files = [] if folder is None else sorted(path for path in folder.iterdir() if path.is_file())
        self.examples = {path.name: path for path in files if media_kind(path.name)}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._dropped: OrderedDict[str, tuple[str, Literal["video", "image"], int]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, url: str, where: str | None) -> Offered:
        """What a URL of the page names.

        Args:
            url: `vxl:example/NAME`, or `vxl:upload/SHA256`.
            where: Its field in the request.

        Raises:
            RequestError: It is not there, or not any more.
        """
        if url.startswith(EXAMPLE) and (path := self.examples.get(url.removeprefix(EXAMPLE))):
            return Offered(path, path.name, "image" if media_kind(path.name) == "image" else "video")
        key = url.removeprefix(UPLOAD)
        with self._lock:
            found = self._dropped.get(key) if url.startswith(UPLOAD) else None
            if found is not None and self._folder is not None:
                self._dropped.move_to_end(key)
                return Offered(Path(self._folder.name) / key, found[0], found[1])
        raise RequestError("there is no such video here (any more); drop it again.", where)

    async def take(self, pieces: AsyncIterable[bytes], name: str) -> str:
        """Keeps what is dropped; its URL.

        Args:
            pieces: Its bytes.
            name: Of its file.

        Raises:
            RequestError: It is larger than allowed, or neither a video nor an image by its name.
        """
        kind = media_kind(name)
        if kind is None:
            raise RequestError(f"{name[:80]!r} is neither a video nor an image, by its ending.", "name")
        folder = self._home()
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            place = Path(file.name)
            try:
                async for piece in pieces:
                    size += len(piece)
                    if size > min(self.most, self.kept):
                        raise RequestError(
                            f"it is larger than {self.most >> 20} MiB; cut it.", "body", status=413
                        )
                    digest.update(piece)
                    file.write(piece)
            except BaseException:
                place.unlink(missing_ok=True)
                raise
        key = digest.hexdigest()
        with self._lock:
            place.replace(folder / key)
            self._dropped[key] = (name, "image" if kind == "image" else "video", size)
            self._dropped.move_to_end(key)
            while sum(one[2] for one in self._dropped.values()) > self.kept:
                old, _ = self._dropped.popitem(last=False)
                (folder / old).unlink(missing_ok=True)
        return UPLOAD + key

    def forget(self, url: str) -> None:
        """Drops what was dropped."""
        key = url.removeprefix(UPLOAD)
        with self._lock:
            if self._dropped.pop(key, None) is not None and self._folder is not None:
                (Path(self._folder.name) / key).unlink(missing_ok=True)

    def close(self) -> None:
        """Removes all that were dropped."""
        if self._folder is not None:
            self._folder.cleanup()

    def _home(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vxl-dropped-", ignore_cleanup_errors=True)
        return Path(self._folder.name)
