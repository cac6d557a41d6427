"""Files that are either as before or complete, whatever happens while they are written."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Generator
from pathlib import Path

from vxl.errors import CheckpointError, DataError


def write_text(path: Path, text: str) -> None:
    """Replaces a file by `text`, on disk when this returns; a kill leaves the old file or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Puts a folder's own entries (new names, renames) on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why_not(error: OSError) -> str:
    """In words why something could not be written, and what helps."""
    if error.errno == errno.ENOSPC:
        return "the disk is full.\n  free space, or write elsewhere:  paths.runs=FOLDER"
    if error.errno == errno.EDQUOT:
        return "your quota is used up.\n  free space, or write elsewhere:  paths.runs=FOLDER"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        reason = "the file system is read-only" if error.errno == errno.EROFS else "permission denied"
        return f"{reason}.\n  write elsewhere:  paths.runs=FOLDER"
    return f"{error.strerror or error}.\n  write elsewhere:  paths.runs=FOLDER"


def write_file(path: Path, data: bytes) -> None:
    """Writes under a temporary name and renames: readers see all of it or nothing, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """One process at a time; the others wait.

    Raises:
        DataError: The lock's folder can't be written.
    """
    try:
        file = open(path, "w")  # noqa: SIM115
    except OSError as error:
        raise DataError(
            f"{path} can't be written: {error.strerror}.\n  name a folder that can:  paths.cache=FOLDER"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def whole_folder(out: Path) -> Generator[Path]:
    """A folder that appears under its name only when everything is in it.

    Raises:
        CheckpointError: There is something of that name, or the disk does not take it.
    """
    refuse_existing(out)
    partial = out.with_name(f".{out.name}.partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise CheckpointError(
            f"{out} can't be written: {error.strerror or error}\n  free space or name another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(out: Path) -> None:
    """Raises if there is something at `out`: an empty folder is nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists; nothing was written.\n  name another folder, or remove it")
