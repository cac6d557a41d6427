"""Opening a video file: local paths only, the right stream of it, and words for what can't be read."""

import io
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import BinaryIO

import av
import av.container
import av.packet
import av.stream
import av.video.stream

from vxl.errors import DataError
from vxl.in_place import HEAD, in_its_place
from vxl.patience import open_patiently, status_of
from vxl.video.limits import MOST_PIXELS, refuse_declared, refuse_table

VideoSource = str | os.PathLike[str] | bytes | BinaryIO
"""Where a video (or an image) is: a local path, the bytes themselves, or an open binary file."""

PICTURES = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
"""Marks of streams that hold a cover or thumbnails instead of a video."""

DEFAULT = 5_000_000
"""Pixels that the mark of a default stream is worth to the `ffmpeg` command."""

BUFFER = 1 << 17
"""Bytes that FFmpeg asks a file for at once."""

PIECES, PIECE = 16, 1 << 16
"""How many pieces of a file make its fingerprint, and of how many bytes."""

ALONE = {"protocol_whitelist": "none", "max_pixels": str(MOST_PIXELS)}
"""A file is read by itself: a playlist or list of parts in it opens no other. And no frame is too large."""


class EncryptedError(Exception):
    """Packets are encrypted; `open_container` says of which video."""


@contextmanager
def open_container(
    source: VideoSource,
    *,
    name: str | None = None,
    threads: int = 1,
    options: dict[str, str] | None = None,
) -> Generator[tuple[av.container.InputContainer, av.video.stream.VideoStream, str]]:
    """Opens a video for one use and closes it after: (container, its video stream, its name in messages).

    FFmpeg's errors inside the block become DataErrors that name the video.

    Args:
        source: Path, bytes, or open file.
        name: What to call the video in messages, by default its path.
        threads: Threads of the decoder; 0 for as many as there are cores.
        options: Of FFmpeg's decoder.

    Raises:
        DataError: Absent, unreadable, or without a video stream.
    """
    name = name or source_name(source)
    container = None
    try:
        file = as_readable(source)
        refuse_table(file, name)
        container = av.open(file, "r", metadata_errors="replace", options=dict(ALONE), buffer_size=BUFFER)
        stream = video_stream(container, name)
        if stream.codec_context is None:
            raise DataError(f"{name}: this build of FFmpeg has no decoder for the file's video codec.")
        context = stream.codec_context
        refuse_declared(name, stream.frames, pixels=context.width * context.height)
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "SLICE" if threads == 1 else "AUTO"
        stream.codec_context.options = {"max_pixels": ALONE["max_pixels"], **(options or {})}
        yield container, stream, name
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.\n  check the path, or the folder of the videos") from error
    except EncryptedError as error:
        raise DataError(
            f"{name}: its pictures are encrypted, and only who sold it has the key.\n"
            "  expected: a video without DRM; leave it out"
        ) from error
    except (av.FFmpegError, OSError) as error:
        raise DataError(unreadable(source, name, error)) from error
    finally:
        if container is not None:
            container.close()


def video_stream(container: av.container.InputContainer, name: str) -> av.video.stream.VideoStream:
    """The stream that the `ffmpeg` command takes: a default one, else the largest picture; never a cover.

    Raises:
        DataError: The file holds no video.
    """
    videos = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
    if not videos:
        kinds_found = {
            "a cover picture" if stream in container.streams.video else str(stream.type)
            for stream in container.streams
        }
        kinds = ", ".join(sorted(kinds_found)) or "nothing"
        raise DataError(f"{name}: no video in this file.\n  got: {kinds}\n  expected: a video stream")
    return max(videos, key=_weight)  # the first of equal ones


def _weight(stream: av.video.stream.VideoStream) -> int:
    """What `ffmpeg` weighs streams by: pixels, and being marked as default."""
    context = stream.codec_context
    pixels = 0 if context is None else context.width * context.height
    return pixels + DEFAULT * bool(stream.disposition & av.stream.Disposition.default)


def packets_of(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[av.packet.Packet]:
    """A video stream's packets, from where the container stands."""
    try:
        packets = container.demux(stream)
        for packet in packets:
            if packet.has_sidedata("encryption_info"):
                raise EncryptedError
            yield packet
            break  # the first tells
        yield from packets
    except IndexError as error:  # PyAV, where a packet names a stream that the header does not
        raise av.InvalidDataError(0, "damaged packets") from error


def unreadable(source: VideoSource, name: str, error: Exception) -> str:
    """Words for a file that FFmpeg gives up on."""
    reason = getattr(error, "strerror", None) or str(error)
    size = source_bytes(source)
    got = "" if size is None else f"\n  got: {size:,} bytes{not_media(source)}"
    return (
        f"{name}: can't be read as a video: {reason}.{got}\n"
        "  expected: a whole mp4, mkv, webm or other video; if truncated: copy it again, or leave it out"
    )


def not_media(source: VideoSource) -> str:
    """`, a web page` and the like, where the beginning shows what lies there in the place of a medium."""
    if isinstance(source, bytes | bytearray | memoryview):
        head = bytes(source[:HEAD])
    elif isinstance(source, str | os.PathLike) and os.path.isfile(source):
        try:
            with open(source, "rb") as file:
                head = file.read(HEAD)
        except OSError:
            return ""
    else:
        return ""
    return in_its_place(head)


def source_name(source: VideoSource) -> str:
    """What to call a source in messages."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source):,} bytes>"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return str(getattr(source, "name", "<file>"))


def source_bytes(source: VideoSource) -> int | None:
    """Size of a source, where it is cheap to know."""
    if isinstance(source, bytes | bytearray | memoryview):
        return len(source)
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return os.path.getsize(path) if isinstance(path, str | os.PathLike) and os.path.isfile(path) else None


def content_of(file: str | os.PathLike[str], size: int) -> str:
    """A fingerprint of a file by pieces spread over all of it: a copy has the same, a replacement another."""
    with open_patiently(file) as data:
        return _fingerprint(data, size)


def _fingerprint(data: BinaryIO, size: int) -> str:
    digest = blake2b(digest_size=8)
    for number in range(PIECES):
        data.seek(max(size - PIECE, 0) * number // (PIECES - 1))
        digest.update(data.read(PIECE))
    return digest.hexdigest()


def identity_of(source: VideoSource) -> str | None:
    """What tells a video's content from any other; None where that can't be told without reading it whole.

    Bytes, and files no longer than the pieces of a fingerprint, are told by all that they hold, longer ones
    by their fingerprint and, where they have a name, by when they were last changed.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        size, content = len(source), _fingerprint(io.BytesIO(source), len(source))
        whole = "" if size <= PIECES * PIECE else blake2b(source, digest_size=16).hexdigest()
        return f"{size}-{content}{whole}"
    if isinstance(source, str | os.PathLike):
        status = status_of(source)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)
        try:
            content = _content_now(os.path.abspath(source), status.st_size, stamp)
        except OSError:  # opening it says so
            return None
        return content if status.st_size <= PIECES * PIECE else f"{content}-{status.st_mtime_ns}"
    if not source.seekable():
        return None
    size = source.seek(0, os.SEEK_END)
    return f"{size}-{_fingerprint(source, size)}"


@lru_cache(maxsize=4096)
def _content_now(path: str, size: int, stamp: tuple[int, ...]) -> str:
    return f"{size}-{content_of(path, size)}"


def as_readable(source: VideoSource) -> BinaryIO:
    """What decoders read from: a file at its start that can seek and, on disk, waits for faults to go.

    Raises:
        OSError: There is no such file, or it may not be read.
        LostError: It could not be opened for `data.patience` seconds; reading raises it, too.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        if not _is_regular(source):  # a pipe, say
            with open(source, "rb") as pipe:
                return io.BytesIO(pipe.read())
        try:
            return open_patiently(source)
        except ValueError as error:  # a name that no file can have
            raise FileNotFoundError(str(error)) from error
    if not source.seekable():
        return io.BytesIO(source.read())
    source.seek(0)
    return source


def path_for_decoders(path: str | os.PathLike[str]) -> str:
    """What a decoder opens that takes only paths: `file:PATH`, so that a colon names no protocol.

    All of the file is read first, patiently: what such a decoder makes of an error of the disk, a shorter
    video or a grey picture, can't be told from what the file holds.

    Raises:
        OSError: There is no such file, or it may not be read.
        LostError: It could not be read for `data.patience` seconds.
    """
    if _is_regular(path):
        with open_patiently(path) as file:
            while file.read(1 << 22):
                pass
    return f"file:{os.fspath(path)}"


def _is_regular(path: str | os.PathLike[str]) -> bool:
    status = status_of(path)  # of nothing, and of a folder, opening says so
    return status is None or stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
