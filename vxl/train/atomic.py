"""Files that are either as before or complete, whatever happens while they are written."""

import errno
import os
from pathlib import Path


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
