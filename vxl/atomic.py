"""Files and folders that are either as before or complete and on disk, whatever happens in between.

Everything is written under a temporary name beside its own (`.NAME.0123abcd.part`), put on disk, and renamed.
The writer holds a lock on what it writes, so what a kill left behind is known by its lock being free.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Literal

from vxl.errors import CheckpointError, DataError

_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h


@contextlib.contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Generator[Path]:
    """Gives a temporary path to write to; what is there at the end replaces `path`.

    Args:
        path: The file.
        mode: Its permissions before the umask; 0o600 where it may hold a secret.

    Raises:
        OSError: It can't be written; a file that was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try:
        _hold(descriptor)
        yield part
        os.fsync(descriptor)
        part.replace(path)
        sync(path.parent)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        os.close(descriptor)
        part.unlink(missing_ok=True)


def write_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replaces a file by `data`, on disk when this returns; a kill leaves the old file or the new one."""
    with whole_file(path, mode) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Replaces a file by `text`, in UTF-8, as `write_file` does."""
    write_file(path, text.encode(), mode)


@contextlib.contextmanager
def whole_folder(path: Path, existing: Literal["refuse", "keep", "replace"] = "refuse") -> Generator[Path]:
    """Gives an empty folder to fill, which appears as `path` when everything in it is on disk.

    Args:
        path: The folder. What kills left of earlier attempts at it is removed.
        existing: What becomes of a folder that is there at the end: `refuse` raises FileExistsError unless it
            is empty, `keep` drops the new one, `replace` puts the new one in its place in one step (on file
            systems that can't exchange two names, in two; see `mend`).

    Raises:
        OSError: It can't be written; a folder that was there stays.
    """
    mend(path)
    with part_folder(path) as part:
        yield part
        sync_tree(part)
        try:
            part.rename(path)  # an empty folder is replaced
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if existing == "refuse":  # a name for both: Linux says that the folder is not empty
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            if existing == "replace":
                _take_the_place(part, path)
        sync(path.parent)


@contextlib.contextmanager
def part_folder(path: Path) -> Generator[Path]:
    """Gives an empty folder beside `path`, for what is to be put in its place; it goes at the end.

    What kills left of earlier ones is removed.
    """
    remove_leftovers(path.parent, path.name)
    part = _part_of(path)
    part.mkdir(parents=True)
    descriptor = os.open(part, os.O_RDONLY)
    try:
        _hold(descriptor)
        yield part
    except OSError as error:
        _name(error, path)
        raise
    finally:
        os.close(descriptor)
        shutil.rmtree(part, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder; a kill on the way leaves no half of one under its name."""
    part = _part_of(path)
    path.rename(part)
    shutil.rmtree(part)


def mend(path: Path) -> None:
    """Gives a folder its name back that a kill took between the two renames of a replacement."""
    before = _before(path)
    if not before.is_dir():
        return
    if path.exists():
        shutil.rmtree(before, ignore_errors=True)
    else:
        before.rename(path)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes what killed writers left in a folder.

    Args:
        folder: The folder; it need not be there.
        name: Only attempts at this file or folder; None for all.
    """
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        ours = _PART.fullmatch(entry.name) and (name is None or entry.name.startswith(f".{name}."))
        if ours and not entry.is_symlink() and _is_abandoned(Path(entry.path)):
            if entry.is_dir():
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Puts a file on disk, or a folder's own entries (new names, renames)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Puts everything in a folder on disk, whoever wrote it."""
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place) / name)
        sync(Path(place))


def why_not(error: OSError, elsewhere: str = "paths.runs=FOLDER") -> str:
    """In words why something could not be written, and what helps.

    Args:
        error: What was raised.
        elsewhere: What to type to write to another place.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "the disk is full" if error.errno == errno.ENOSPC else "your quota is used up"
        return f"{reason}.\n  free space, or write elsewhere:  {elsewhere}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        reason = "the file system is read-only" if error.errno == errno.EROFS else "permission denied"
        return f"{reason}.\n  write elsewhere:  {elsewhere}"
    return f"{error.strerror or error}.\n  write elsewhere:  {elsewhere}"


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Holds the lock file `path`: one process at a time, the others wait.

    Raises:
        DataError: The lock's folder can't be written.
    """
    from filelock import FileLock  # late: filelock imports asyncio, and most commands lock nothing

    try:
        lock = FileLock(path)
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"{path} can't be written: {error.strerror}.\n  name a folder that can:  paths.cache=FOLDER"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def new_folder(out: Path) -> Generator[Path]:
    """A folder of weights that appears under its name only when everything is in it.

    Raises:
        CheckpointError: There is something of that name, or the disk does not take it.
    """
    refuse_existing(out)
    try:
        with whole_folder(out) as part:
            yield part
    except FileExistsError:
        refuse_existing(out)  # another process was first
        raise
    except OSError as error:
        raise CheckpointError(f"{out} can't be written: {why_not(error, 'another folder')}") from error


def refuse_existing(out: Path) -> None:
    """Raises CheckpointError if there is something at `out`; an empty folder is nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists; nothing was written.\n  name another folder, or remove it")


def _name(error: OSError, path: Path) -> None:
    """Puts into an error which file or folder it is about, where the system did not say: `write` does not."""
    if error.errno is not None and error.filename is None:
        error.filename = str(path)


def _part_of(path: Path) -> Path:
    if not path.name:  # `.` and `/`
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def _hold(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # file systems without flock: leftovers stay there
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(part: Path) -> bool:
    """Whether nothing holds a temporary file or folder any more."""
    try:
        descriptor = os.open(part, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _take_the_place(part: Path, path: Path) -> None:
    """Puts a folder in the place of another, which goes to the temporary name or away."""
    if _exchange(part, path):
        return
    before = _before(path)
    path.rename(before)
    try:
        part.rename(path)
    except BaseException:
        before.rename(path)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step (Linux's renameat2); False where the system can't."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done != 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return done == 0
