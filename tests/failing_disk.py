"""A disk that fails: calls on files below a folder fail now and then, or always, in the system's words."""

import builtins
import contextlib
import errno
import io
import os
import random
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest


class FailingDisk:
    """Makes calls on files below a folder fail.

    Attributes:
        failures: How many calls failed.
    """

    def __init__(self, folder: Path, share: float, number: int = errno.EIO) -> None:
        self.folder, self.share, self.number = str(folder.resolve()), share, number
        self.failures, self.random = 0, random.Random(0)

    def touch(self, path: Any) -> None:
        """Fails on a share of the calls about files below the folder."""
        if isinstance(path, int):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/self/fd/{path}")
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(self.folder):
            return
        if self.random.random() < self.share:
            self.failures += 1
            raise OSError(self.number, os.strerror(self.number), os.fspath(path))


class FailingFile(io.FileIO):
    """A file of a failing disk."""

    disk: FailingDisk

    def readinto(self, buffer: Any, /) -> int:
        self.disk.touch(self.name)
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self.disk.touch(self.name)
        return super().readall()

    def read(self, size: int | None = -1, /) -> bytes:
        self.disk.touch(self.name)
        return super().read(size)


@contextlib.contextmanager
def failing_disk(folder: Path, share: float, number: int = errno.EIO) -> Generator[FailingDisk]:
    """Inside, a share of the calls on files below a folder fails; data workers forked inside meet it, too."""
    disk = FailingDisk(folder, share, number)
    true_open = builtins.open

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(path: Any, *args: Any, **kwargs: Any) -> Any:
            disk.touch(path)
            return call(path, *args, **kwargs)

        return instead

    def open_file(path: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+") or isinstance(path, int):
            return true_open(path, mode, buffering, *args, **kwargs)
        disk.touch(path)
        if not os.path.abspath(path).startswith(disk.folder):
            return true_open(path, mode, buffering, *args, **kwargs)
        raw = FailingFile(path)
        raw.disk = disk
        if "b" not in mode:
            return io.TextIOWrapper(io.BufferedReader(raw), *args, **kwargs)
        return raw if buffering == 0 else io.BufferedReader(raw)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("stat", "pread", "listdir"):
            patch.setattr(os, name, watched(getattr(os, name)))
        patch.setattr(builtins, "open", open_file)
        patch.setattr(io, "open", open_file)
        yield disk
