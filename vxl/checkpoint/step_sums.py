"""Whether the files of a checkpoint folder are what was written: lengths and checksums, compared."""

import io
import json
import zipfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import _StorageInfo

from vxl.errors import CheckpointError, LostError, VxlError
from vxl.faults import is_fault
from vxl.patience import is_there, open_patiently, read_patiently, status_of

INDEX, REST, SUMS = ".metadata", "rest.pt", "sums.json"
"""Files of a checkpoint folder beside its tensors: where each stands, everything else, and checksums."""


def compare_sums(folder: Path) -> None:
    """Compares a checkpoint folder with its sums.json; one of an earlier release, which has none, passes.

    Raises:
        CheckpointError: A file is missing, has another length, or is another one.
    """
    if not is_there(folder / SUMS):
        return
    try:
        sums = json.loads(read_patiently(folder / SUMS))
        for name, sum_of_file in sums.items():
            status = status_of(folder / name)
            if status is None:
                raise damaged(folder / name, "it is missing")
            if status.st_size != sum_of_file["bytes"]:
                raise damaged(folder / name, f"it has {status.st_size:,} bytes of {sum_of_file['bytes']:,}")
            if "sha256" in sum_of_file:
                digest = sha256(read_patiently(folder / name)).hexdigest()
                if digest != sum_of_file["sha256"]:
                    raise damaged(folder / name, "its SHA-256 is not the one that was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(folder / SUMS, error) from error


def refuse_damaged_tensors(path: Path, places: Iterable[tuple[_StorageInfo, str]]) -> None:
    """Compares the checksums of tensors in a file, each given by its place and name.

    Raises:
        CheckpointError: One is not what was written, or the file is missing.
    """
    for place, tensor in places:
        refuse_damaged(io.BytesIO(read_place(path, place)), path, tensor)


def read_place(path: Path, place: _StorageInfo) -> bytes:
    """What stands at a place of a file.

    Raises:
        CheckpointError: The file is missing, or can't be read.
    """
    try:
        with open_patiently(path) as file:
            file.seek(place.offset)
            return file.read(place.length)
    except OSError as error:
        raise damaged(path, error) from error


def refuse_damaged(file: Any, path: Path, tensor: str) -> None:
    """Compares the checksums inside what `torch.save` wrote.

    Raises:
        CheckpointError: They differ.
    """
    what = f"{tensor}: " if tensor else ""
    try:
        with zipfile.ZipFile(file) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise damaged(path, f"{what}{error}") from error
    if wrong is not None:
        raise damaged(path, f"{what}its checksum is not the one that was written")


def damaged(path: Path, reason: object) -> VxlError:
    """The error of a damaged file of a checkpoint; what to do about it is the step folder's to say."""
    if isinstance(reason, BaseException) and is_fault(reason):
        return LostError(f"{path} can't be read: {reason}.\n  the same command may be tried again")
    text = " ".join(str(reason).split())[:300] or type(reason).__name__
    return CheckpointError(f"{path} is damaged: {text}")
