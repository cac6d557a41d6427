"""Decoded, resized frames on disk, shared by all runs, sweeps and evaluations that look at the same ones.

An entry is named by all that its pixels follow from: the video's content, the decoder, the size, the frames.
It is a file of nothing but pixels, with a checksum a frame behind them: it appears whole or not at all, is
read through a memory map, and never executed. One that is cut off or damaged is written anew. Whatever goes
wrong with it, the frames are those of the video.
"""

import contextlib
import functools
import logging
import mmap
import os
import time
import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vxl.atomic import locked, remove_leftovers, whole_file
from vxl.errors import DataError
from vxl.units import GIB, human_size
from vxl.video.probe import VideoInfo
from vxl.video.transform import PixelSpec

log = logging.getLogger(__name__)

FORMAT = 1
SHORT = 64
"""A video of up to so many frames is kept whole, whichever of them are asked for."""
SUFFIX = ".frames"
DIGITS = 20
SLACK = 0.9
"""Share of the limit that stays when the oldest entries are removed: so that it is seldom done."""
RECENT = 60.0
"""Seconds after which an entry that is used is marked as used again."""
INFOS = 2048
"""Videos whose facts a process remembers."""


@dataclass(frozen=True)
class FrameCache:
    """The entries of a folder.

    Args:
        folder: Where they are; the processes of any number of machines may share it.
        gib: Most gibibytes of entries; those that were not used for longest are removed.
    """

    folder: Path
    gib: float
    infos: dict[str, VideoInfo] = field(default_factory=dict, repr=False, compare=False)
    """What is known of videos without opening them."""

    @property
    def limit(self) -> int:
        """Most bytes of entries."""
        return int(self.gib * GIB)

    def remember(self, video: str, info: VideoInfo) -> None:
        """Keeps a video's facts in this process."""
        if len(self.infos) >= INFOS:
            self.infos.pop(next(iter(self.infos)))
        self.infos[video] = info

    def begin(self, path: Path, size: int, stack: contextlib.ExitStack) -> Path | None:
        """Makes room for an entry, and begins it at its full length, so that others count it from now on.

        Args:
            path: The entry's file.
            size: Its bytes.
            stack: What puts it there, or not, when it is left.

        Returns:
            The file to write to; None where there is no room.

        Raises:
            OSError: The folder can't be written.
            DataError: It can't be locked.
        """
        if size > self.limit:
            log.warning("%s for the frames of one video: larger than the limit, not kept", human_size(size))
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock"):
            note = self.folder / ".bytes"  # so that not every writer has to look at all entries
            try:
                digits = note.read_bytes()
                total = int(digits) if len(digits) == DIGITS else None
            except (FileNotFoundError, ValueError):
                total = None
            if total is None or total + size > self.limit:
                total = self._make_room(size)
            if total + size > self.limit:  # others are writing as much as there may be
                return None
            part = stack.enter_context(whole_file(path))
            os.truncate(part, size)
            note.write_text(f"{total + size:0{DIGITS}d}")
        return part

    def _make_room(self, size: int) -> int:
        """Looks at all entries and removes the oldest of too many; the bytes of those that stay, and of those
        that are being written."""
        entries: list[tuple[float, int, str]] = []
        begun = 0
        for shelf in os.scandir(self.folder):
            if shelf.is_dir():
                remove_leftovers(Path(shelf.path))
                for entry in os.scandir(shelf.path):
                    with contextlib.suppress(FileNotFoundError):
                        if entry.name.endswith(SUFFIX):
                            entries.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
                        else:
                            begun += entry.stat().st_size
        total = begun + sum(length for _, length, _ in entries)
        if total + size > self.limit:
            for _, length, path in sorted(entries):
                if total + size <= SLACK * self.limit:
                    break
                Path(path).unlink(missing_ok=True)
                total -= length
        return total


_cache: FrameCache | None = None
"""Of this process; a data worker is given its trainer's. No frame depends on it."""


def frame_cache() -> FrameCache | None:
    """What frames are kept in; None where they are not."""
    return _cache


def keep_frames(cache: FrameCache | None) -> None:
    """Sets where this process keeps frames."""
    global _cache
    _cache = cache


@contextlib.contextmanager
def frames_kept(what: str, cache: str | Path, gib: float) -> Generator[None]:
    """Inside, frames are kept where `what` says so.

    Args:
        what: "frames", or "none" for nothing.
        cache: paths.cache.
        gib: Most gibibytes.
    """
    before = frame_cache()
    keep_frames(FrameCache(Path(cache).absolute() / "frames", gib) if what == "frames" else None)
    try:
        yield
    finally:
        keep_frames(before)


@dataclass(frozen=True)
class Entry:
    """Some frames of a video at a size.

    Args:
        cache: Where it is.
        video: What the pixels follow from besides size and numbers; see `identity_of`.
        pixels: The size.
        numbers_N: Which frames, ascending.
    """

    cache: FrameCache
    video: str
    pixels: PixelSpec
    numbers_N: np.ndarray

    @functools.cached_property
    def path(self) -> Path:
        """Its file."""
        sized = (FORMAT, self.video, self.pixels.resize, self.pixels.size, torch.__version__)
        digest = blake2b(repr(sized).encode(), digest_size=16)
        digest.update(self.numbers_N.astype("<i8").tobytes())
        name = digest.hexdigest()
        return self.cache.folder / name[:2] / f"{name}{SUFFIX}"

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        return 3 * self.pixels.size**2

    @property
    def size(self) -> int:
        """Bytes of its file."""
        return len(self.numbers_N) * (self.frame_bytes + 4)

    def find(self, wanted_U: np.ndarray) -> Tensor | None:
        """Frames of ascending numbers, all of which it has, uint8 [U, C, H, W]; None where it is not there.

        Frames that follow one another in it are a view of its file, and may be written to: the file stays.
        """
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                whole = status.st_size == self.size
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if whole else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s can't be read (%s): decoding instead", self.path, error)
            return None
        count, length = len(self.numbers_N), self.frame_bytes
        places_U = np.searchsorted(self.numbers_N, wanted_U)
        if whole:
            sums_N = np.frombuffer(mapped[count * length :], np.uint32)
            with memoryview(mapped) as view:
                parts = (view[place * length : (place + 1) * length] for place in places_U)
                whole = all(zlib.crc32(p) == sums_N[n] for p, n in zip(parts, places_U, strict=True))
        if not whole:
            log.warning("%s is damaged: it is made anew", self.path)
            return None
        if time.time() - status.st_mtime > RECENT:
            with contextlib.suppress(OSError):
                os.utime(self.path)
        frames_N = torch.frombuffer(mapped, dtype=torch.uint8, count=count * length)
        frames_NCHW = frames_N.view(count, 3, self.pixels.size, self.pixels.size)
        first, last = int(places_U[0]), int(places_U[-1])
        if last - first + 1 == len(places_U):
            return frames_NCHW[first : last + 1]
        return frames_NCHW[torch.from_numpy(places_U)]

    def written(self, frames: Iterator[Tensor], unchanged: Callable[[], bool]) -> Iterator[Tensor]:
        """Passes its frames [1, C, H, W] on; when all have passed, it is there.

        Args:
            frames: All of them.
            unchanged: Whether the video is still the one that its name says.
        """
        writing = _Writing(self)
        try:
            for frame_1CHW in frames:
                writing.add(frame_1CHW)
                yield frame_1CHW
            if unchanged():
                writing.finish()
        finally:
            writing.abandon()


class _Writing:
    """An entry on its way to disk. What goes wrong with that is said once, and stops nothing."""

    def __init__(self, entry: Entry) -> None:
        self._entry, self._sums = entry, array("I")
        self._stack, self._file = contextlib.ExitStack(), None
        with self._or_not():
            part = entry.cache.begin(entry.path, entry.size, self._stack)
            if part is not None:
                self._file = self._stack.enter_context(part.open("r+b"))

    def add(self, frame_1CHW: Tensor) -> None:
        """The next frame."""
        if self._file is not None:
            with self._or_not():
                pixels = frame_1CHW.contiguous().numpy()
                self._sums.append(zlib.crc32(pixels))
                self._file.write(pixels)

    def finish(self) -> None:
        """The entry appears."""
        if self._file is not None:
            with self._or_not():
                self._file.write(self._sums)
                self._stack.close()

    def abandon(self) -> None:
        """It does not, unless it has."""
        self._file = None
        with contextlib.suppress(_AbandonedError), self._stack:
            raise _AbandonedError

    @contextlib.contextmanager
    def _or_not(self) -> Generator[None]:
        try:
            yield
        except (OSError, DataError) as error:
            self.abandon()
            _warn_once(self._entry.cache.folder, str(error))


class _AbandonedError(Exception):
    """An entry is not to be kept."""


@functools.cache
def _warn_once(folder: Path, reason: str) -> None:
    log.warning("frames can't be kept in %s (%s): they are decoded each time", folder, reason)
