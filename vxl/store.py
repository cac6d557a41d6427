"""Entries on disk up to a limit, shared by processes: each is whole or not there, and the oldest make room.

An entry is a file of records of one length, with a checksum a record behind them. It is read through a memory
map, and never executed. One that is cut off or damaged counts as absent, and whatever goes wrong with writing
it is said once and stops nothing.
"""

import contextlib
import functools
import logging
import mmap
import os
import time
import zlib
from array import array
from collections.abc import Collection, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from vxl.atomic import locked, remove_leftovers, whole_file
from vxl.errors import DataError
from vxl.units import GIB, human_size

log = logging.getLogger(__name__)

DIGITS = 20
SLACK = 0.9
"""Share of the limit that stays when the oldest entries are removed: so that it is seldom done."""
RECENT = 60.0
"""Seconds after which an entry that is used is marked as used again."""


@dataclass(frozen=True)
class Store:
    """The entries of a folder.

    Args:
        folder: Where they are; the processes of any number of machines may share it.
        gib: Most gibibytes of entries; those that were not used for longest are removed.
    """

    suffix: ClassVar[str]
    """Of an entry's file."""
    what: ClassVar[str]
    """What is kept."""
    one: ClassVar[str]
    """What an entry is of."""
    otherwise: ClassVar[str]
    """What becomes of them where they can't be kept."""

    folder: Path
    gib: float

    @property
    def limit(self) -> int:
        """Most bytes of entries."""
        return int(self.gib * GIB)

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
            log.warning(
                "%s for the %s of %s: larger than the limit, not kept", human_size(size), self.what, self.one
            )
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
                        if entry.name.endswith(self.suffix):
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


S = TypeVar("S", bound=Store)
_in_use: dict[type[Store], Store] = {}
"""Of this process; a data worker is given its trainer's. No number depends on it."""


def in_use(kind: type[S]) -> S | None:
    """The store of a kind that this process keeps to; None where nothing is kept."""
    store = _in_use.get(kind)
    return store if isinstance(store, kind) else None


def use(kind: type[S], store: S | None) -> None:
    """Sets what this process keeps to."""
    _in_use.pop(kind, None)
    if store is not None:
        _in_use[kind] = store


@contextlib.contextmanager
def using(kind: type[S], store: S | None) -> Generator[None]:
    """Inside, the store of a kind is this one, or there is none."""
    before = in_use(kind)
    use(kind, store)
    try:
        yield
    finally:
        use(kind, before)


@dataclass(frozen=True)
class Records:
    """An entry.

    Args:
        store: Where it is.
        name: Its name: a digest of all that it follows from.
        count: Records.
        length: Bytes of each.
    """

    store: Store
    name: str
    count: int
    length: int

    @property
    def path(self) -> Path:
        """Its file."""
        return self.store.folder / self.name[:2] / f"{self.name}{self.store.suffix}"

    @property
    def size(self) -> int:
        """Bytes of its file."""
        return self.count * (self.length + 4)

    def find(self, places: Collection[int]) -> mmap.mmap | None:
        """Its bytes, where these records are as they were written; they may be changed: the file stays."""
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                whole = status.st_size == self.size
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if whole else None
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s can't be read (%s): %s", self.path, error, self.store.otherwise)
            return None
        if mapped is None or not self._is_whole(mapped, places):
            log.warning("%s is damaged: it is made anew", self.path)
            return None
        if time.time() - status.st_mtime > RECENT:
            with contextlib.suppress(OSError):
                os.utime(self.path)
        return mapped

    def _is_whole(self, mapped: mmap.mmap, places: Collection[int]) -> bool:
        sums_N = np.frombuffer(mapped[self.count * self.length :], np.uint32)
        with memoryview(mapped) as view:
            parts = (view[place * self.length : (place + 1) * self.length] for place in places)
            return all(zlib.crc32(part) == sums_N[n] for part, n in zip(parts, places, strict=True))


class Writing:
    """An entry on its way to disk, which appears when it is finished inside a `with` block, or never. What
    goes wrong with that is said once, and stops nothing."""

    def __init__(self, records: Records) -> None:
        self._records, self._sums = records, array("I")
        self._stack, self._file = contextlib.ExitStack(), None
        with self._or_not():
            part = records.store.begin(records.path, records.size, self._stack)
            if part is not None:
                self._file = self._stack.enter_context(part.open("r+b"))

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, *error: object) -> None:
        self._abandon()

    def add(self, record: memoryview) -> None:
        """The next record."""
        if self._file is not None:
            with self._or_not():
                self._sums.append(zlib.crc32(record))
                self._file.write(record)

    def finish(self) -> None:
        """The entry appears."""
        if self._file is not None:
            with self._or_not():
                self._file.write(self._sums)
                self._stack.close()

    def _abandon(self) -> None:
        """It does not, unless it has."""
        self._file = None
        with contextlib.suppress(_AbandonedError), self._stack:
            raise _AbandonedError

    @contextlib.contextmanager
    def _or_not(self) -> Generator[None]:
        try:
            yield
        except (OSError, DataError) as error:
            self._abandon()
            _warn_once(self._records.store, str(error))


class _AbandonedError(Exception):
    """An entry is not to be kept."""


@functools.cache
def _warn_once(store: Store, reason: str) -> None:
    log.warning("%s can't be kept in %s (%s): %s", store.what, store.folder, reason, store.otherwise)
