"""Patience with disks and servers that do not answer: what is trained never depends on a fault of theirs.

A file that is not there, or holds something else than it should, is the user's to mend, and raises at once.
Anything else that goes wrong while reading (EIO, a stale handle, a time-out, a connection reset, a server's
5xx) is a fault: it is waited for, in the log, and what was read in the end is what would have been read. Only
after `data.patience` seconds it is a LostError, which says that the same command may be tried again.

Example:
    >>> answers = iter([ConnectionResetError("reset"), b"data"])
    >>> def read() -> bytes:
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> with pauses_of(0.0):
    ...     patiently(read, "s3://shards/a.tar")
    b'data'
"""

import contextlib
import io
import logging
import os
import stat
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from vxl.errors import LostError
from vxl.faults import cause_of, is_fault
from vxl.units import human_age

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class _Settings:
    limit: float = 600.0
    """Seconds to wait for one fault to go; 0: for ever."""
    key: str = "data.patience"
    """What to type for more."""
    first_pause: float = 1.0
    """Seconds before the second attempt; each pause is twice the one before."""
    longest_pause: float = 30.0


_settings = _Settings()
"""Of this process; a data worker is given its trainer's."""


def set_patience(seconds: float) -> None:
    """Sets how long this process waits for a disk or server that does not answer; 0: for ever."""
    global _settings
    _settings = replace(_settings, limit=seconds)


@contextlib.contextmanager
def _within(**changes: Any) -> Generator[None]:
    global _settings
    before, _settings = _settings, replace(_settings, **changes)
    try:
        yield
    finally:
        _settings = before


def patience_of(seconds: float, key: str) -> AbstractContextManager[None]:
    """Inside, a disk or server that does not answer is waited for so long; 0: for ever.

    Args:
        seconds: Longest wait.
        key: The setting that it comes from, for messages.
    """
    return _within(limit=seconds, key=key)


def pauses_of(seconds: float, limit: float | None = None) -> AbstractContextManager[None]:
    """Inside, attempts follow each other after so many seconds and end after `limit`: for tests."""
    pauses = {"first_pause": seconds, "longest_pause": seconds}
    return _within(**pauses, **({} if limit is None else {"limit": limit}))


def patiently(read: Callable[[], T], what: str) -> T:
    """What `read` gives, once the disk or server behind it answers.

    Args:
        read: Reads; it is called again after a fault.
        what: What is read, for messages.

    Raises:
        LostError: It did not answer for `data.patience` seconds.
        Exception: Whatever `read` raises that is no fault.
    """
    began: float | None = None
    pause = _settings.first_pause
    while True:
        try:
            content = read()
        except Exception as error:
            if not is_fault(error):
                raise
            now = time.monotonic()
            began = now if began is None else began
            seconds_left = _settings.limit - (now - began) if _settings.limit else float("inf")
            if seconds_left <= 0:
                raise LostError(
                    f"{what} can't be read: {cause_of(error)}.\n"
                    f"  the disk or server did not answer for {human_age(now - began)}; to wait longer:  "
                    f"{_settings.key}={max(3600, 6 * _settings.limit):.0f}\n"
                    "  nothing was left out: when it answers again, the same command goes on"
                ) from error
            most = "" if seconds_left == float("inf") else f", for {human_age(seconds_left)} at most"
            log.warning("%s can't be read (%s): waiting for it%s", what, cause_of(error), most)
            time.sleep(min(pause, seconds_left))
            pause = min(2 * pause, _settings.longest_pause)
        else:
            if began is not None:
                log.warning("%s is read again, after %s", what, human_age(time.monotonic() - began))
            return content


class PatientFile(io.RawIOBase):
    """A file to read from, opened again where it was after a fault; what it gives is what the file holds.

    Args:
        open_file: Opens the file.
        name: What to call it in messages, and for whoever asks a file for its name.

    Raises:
        OSError: It is not there, or may not be read.
        LostError: It can't be opened (then, or later, read) for `data.patience` seconds.
    """

    def __init__(self, open_file: Callable[[], BinaryIO], name: str) -> None:
        super().__init__()
        self.name = name
        self._open_file = open_file
        self._place = 0
        self._file: BinaryIO | None = None
        self._patiently(lambda file: None)

    def readable(self) -> bool:  # noqa: D102 (io's)
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        base = 0
        if whence != io.SEEK_SET:
            end = whence == io.SEEK_END
            base = self._patiently(lambda file: file.seek(0, io.SEEK_END)) if end else self._place
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any, /) -> int:  # noqa: D102
        def read(file: BinaryIO) -> bytes:
            file.seek(self._place)
            return file.read(len(buffer))

        data = self._patiently(read)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:  # noqa: D102
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(Exception):
                file.close()
        super().close()

    def _patiently(self, use: Callable[[BinaryIO], T]) -> T:
        def attempt() -> T:
            if self._file is None:
                self._file = self._open_file()
            try:
                return use(self._file)
            except Exception:
                stale, self._file = self._file, None  # a stale handle is never good again
                with contextlib.suppress(Exception):
                    stale.close()
                raise

        return patiently(attempt, self.name)


def open_patiently(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A local file to read from and seek in, patiently.

    Raises:
        OSError: It is not there, or may not be read.
        LostError: It could not be opened for `data.patience` seconds; reading raises it, too.
    """
    name = os.fspath(path)
    return io.BufferedReader(PatientFile(lambda: open(name, "rb", buffering=0), name), buffer_size=1 << 17)


def read_patiently(path: str | os.PathLike[str]) -> bytes:
    """All of a local file, patiently.

    Raises:
        OSError: It is not there, or may not be read.
        LostError: It could not be read for `data.patience` seconds.
    """
    return patiently(Path(path).read_bytes, os.fspath(path))


def status_of(path: str | os.PathLike[str]) -> os.stat_result | None:
    """What `os.stat` says of a name; None where there is nothing of that name.

    A disk that does not answer is asked again: to `os.path.exists` nothing is there, then.

    Raises:
        LostError: It did not answer for `data.patience` seconds.
    """
    try:
        return patiently(lambda: os.stat(path), os.fspath(path))
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file or folder of that name; see `status_of`."""
    return status_of(path) is not None


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file of that name; see `status_of`."""
    status = status_of(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether there is a folder of that name; see `status_of`."""
    status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)
