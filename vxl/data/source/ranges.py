"""Byte ranges of local files and URLs: read at once, or as a file to seek in."""

import io
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, cast

from vxl.errors import DataError
from vxl.faults import cause_of
from vxl.patience import patiently

# Members up to this many bytes are read at once; longer ones are files that a decoder seeks in.
WHOLE = 32 << 20
SILENT = 30.0
"""Seconds without a byte after which a server is asked again, which is said."""
BLOCKS = 8
"""Blocks that an open part of a file keeps."""


class GoneError(DataError):
    """A whole file is not there any more: not one bad sample, but all of its samples."""


def is_url(path: str) -> bool:
    """Whether fsspec must read it (s3://, gs://, https://, hf://, ...)."""
    return "://" in path and not path.startswith("file://")


def local(path: str) -> str:
    """A local path without `file://`."""
    return path.removeprefix("file://")


def describe_file(url: str) -> tuple[int, str]:
    """(bytes, when it was last changed in whatever words the file system has), without reading it.

    Raises:
        DataError: It is not there, or can't be read by parts.
        LostError: Its disk or server did not answer for `data.patience` seconds.
    """
    return patiently(lambda: _describe(url), url)


def _describe(url: str) -> tuple[int, str]:
    try:
        if not is_url(url):
            status = os.stat(local(url))
            return status.st_size, str(status.st_mtime_ns)
        system, path = file_system_of(url)
        info = system.info(path)
    except _remote_errors() as error:
        raise DataError(f"{url} can't be read: {cause_of(error)}.") from error
    if info.get("size") is None:
        raise DataError(
            f"{url}: the server does not tell its size, so parts of it can't be read.\n"
            f"  stream it instead:  'pipe:curl -sL {url}'"
        )
    change_time = next(
        (info[k] for k in ("mtime", "LastModified", "last_modified", "ETag", "etag") if k in info), ""
    )
    return int(info["size"]), str(change_time)


def read_range(url: str, offset: int, size: int) -> bytes:
    """Bytes [offset, offset + size) of a file or URL.

    Raises:
        DataError: It is not there, or it ends before.
        LostError: Its disk or server did not answer for `data.patience` seconds.
    """
    read = _read_remote if is_url(url) else _read_local
    data = patiently(lambda: read(url, offset, size), url)
    if len(data) > size:
        raise DataError(
            f"{url}: the server sends all of it where {size} bytes were asked for.\n"
            f"  stream it instead:  'pipe:curl -sL {url}'"
        )
    if len(data) < size:
        raise DataError(
            f"{url} ends at byte {offset + len(data)}; {size} bytes from {offset} on were expected.\n"
            f"  it changed since it was indexed, or it is cut off:  vxl shards index --again {url}"
        )
    return data


def open_range(url: str, offset: int, size: int, whole: int = WHOLE) -> bytes | BinaryIO:
    """What a decoder gets for bytes [offset, offset + size): a file to seek in for more than `whole` of
    them."""
    if size <= whole:
        return read_range(url, offset, size)
    return FilePart(url, offset, size).open()


@dataclass(frozen=True)
class FilePart:
    """Bytes [offset, offset + size) of a file or URL, as what fsspec's file object takes its blocks from.

    A file that fsspec opens itself begins at byte 0 and gives up at a server's first refusal; `read_range`
    tries again, and has its words for what is gone or cut off.
    """

    url: str
    offset: int
    size: int

    def open(self, block: int = 1 << 20) -> BinaryIO:
        """A read-only file, of which fsspec keeps the last few blocks of `block` bytes."""
        from fsspec.spec import AbstractBufferedFile  # late: fsspec takes 0.3 s, for long members alone

        file = AbstractBufferedFile(
            self,
            self.url,
            size=self.size,
            block_size=block,
            cache_type="blockcache",
            cache_options={"maxblocks": BLOCKS},
        )
        return cast(BinaryIO, file)

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of the part; called by fsspec's file, under fsspec's name for it."""
        return read_range(self.url, self.offset + start, min(end, self.size) - start)


@lru_cache(maxsize=64)
def _descriptor(path: str, device: int, inode: int) -> io.FileIO:
    # By device and inode too: a name may stand for another file by now. Reads give their own offset
    # (pread), so a descriptor that a forked worker inherits is safe to use.
    return open(path, "rb", buffering=0)


def _read_local(url: str, offset: int, size: int) -> bytes:
    try:
        status = os.stat(local(url))
        file = _descriptor(local(url), status.st_dev, status.st_ino).fileno()
        data = os.pread(file, size, offset)
        while 0 < len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):
            data += more
    except FileNotFoundError as error:
        raise GoneError(f"{url} is not there any more.") from error
    except OSError as error:
        raise GoneError(f"{url} can't be read: {cause_of(error)}.") from error
    return data


def _read_remote(url: str, offset: int, size: int) -> bytes:
    try:
        system, path = file_system_of(url)
        data = system.cat_file(path, start=offset, end=offset + size)
    except FileNotFoundError as error:
        raise GoneError(f"{url} is not there any more.") from error
    except _remote_errors() as error:
        raise GoneError(f"{url} can't be read at byte {offset}: {cause_of(error)}.") from error
    if len(data) < size and _describe(url)[0] >= offset + size:
        raise ConnectionResetError(f"the server sent {len(data)} of {size} bytes")
    return data


def _remote_errors() -> tuple[type[Exception], ...]:
    """What reading a URL may raise. aiohttp's errors, which fsspec lets through, are no OSErrors."""
    aiohttp = sys.modules.get("aiohttp")
    return (OSError, TimeoutError, ValueError, *([aiohttp.ClientError] if aiohttp else []))


def _timeouts(url: str) -> dict[str, Any]:
    """For fsspec, whose own time-out for HTTP is 5 minutes for a whole answer, however well it flows."""
    if not url.startswith(("http://", "https://")):
        return {}
    from aiohttp import ClientTimeout  # late: aiohttp takes 0.3 s, for addresses alone

    return {"client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=SILENT, sock_read=SILENT)}}


def file_system_of(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it.

    Raises:
        DataError: fsspec knows no such kind of URL, or lacks a package for it.
    """
    import fsspec  # late: fsspec takes 0.3 s, for addresses alone

    try:
        return fsspec.core.url_to_fs(url, **_timeouts(url))  # one a process, and a new one after a fork
    except (ImportError, ValueError) as error:
        raise DataError(f"{url}: {error}") from error
