"""Writing checkpoint folders: complete or not there, never overwritten, on disk before anything says so.

    checkpoints/
      step-000123/    torch.distributed.checkpoint: `model.<name>`, `optim.<name>.<state>`; and `rest.pt`
      last, best      the name of one folder each, replaced atomically
      .part-…         a folder that is being written or removed; of no worth after a kill

`vxl.checkpoint.folder` reads them.
"""

import logging
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from vxl.atomic import sync_folder, why_not, write_text
from vxl.checkpoint.folder import saved, step_of
from vxl.distributed import once
from vxl.errors import CheckpointError

log = logging.getLogger(__name__)

T = TypeVar("T")

REST = "rest.pt"
_PART = ".part-"


def folder_of(parent: Path, step: int) -> Path:
    """Where the checkpoint after `step` stands."""
    return parent / f"step-{step:06d}"


def write(folder: Path, tensors: dict[str, Any], rest: dict[str, Any], peers: Any = None) -> None:
    """Writes one checkpoint folder; one that is there already stays as it is.

    Args:
        folder: `checkpoints/step-000123`.
        tensors: Nested dict of tensors; of sharded ones each rank writes its part.
        rest: Everything else, loadable with `weights_only=True`; the first rank's counts.
        peers: The process group that writes together; None: this process alone.

    Raises:
        CheckpointError: It can't be written (disk full, read-only); earlier checkpoints are untouched.
    """
    part = folder.with_name(f"{_PART}{folder.name}")

    def first(function: Callable[[], T]) -> T:
        return function() if peers is None else once(function, peers)

    def begin() -> bool:
        if folder.exists():
            log.info("%s is there already", folder)
            return False
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        return True

    def complete() -> None:
        with (part / REST).open("wb") as file:
            torch.save(rest, file)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(part)
        part.rename(folder)
        sync_folder(folder.parent)

    try:
        if not first(begin):
            return
        with (
            warnings.catch_warnings()
        ):  # torch announces that one process writes alone, which is what we want
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            writer = dcp.FileSystemWriter(part)
            dcp.save(tensors, storage_writer=writer, process_group=peers, no_dist=peers is None)
        first(complete)  # all ranks have written when this begins
    except (OSError, RuntimeError, dcp.CheckpointException) as error:
        shutil.rmtree(part, ignore_errors=True)  # gives the space back, which may be what is missing
        cause = _os_error(error)
        if cause is None:
            raise
        raise CheckpointError(_message(folder, cause)) from error


def point(parent: Path, name: str, folder: Path) -> None:
    """Makes `last` or `best` name a folder.

    Raises:
        CheckpointError: It can't be written.
    """
    try:
        write_text(parent / name, folder.name + "\n")
    except OSError as error:
        raise CheckpointError(_message(folder, error)) from error


def remove(folder: Path) -> None:
    """Removes a checkpoint; a kill on the way leaves no half of one under its name."""
    part = folder.with_name(f"{_PART}removed-{folder.name}")
    folder.rename(part)
    shutil.rmtree(part)


def tidy(parent: Path) -> Path | None:
    """Removes what a kill left unfinished and returns the newest checkpoint, which `last` then names."""
    for part in parent.glob(f"{_PART}*"):
        shutil.rmtree(part)
    for part in parent.glob(".*.part"):
        part.unlink()
    folders = saved(parent.parent)
    if not folders:
        return None
    last = parent / "last"
    named = parent / last.read_text().strip() if last.exists() else None
    if named not in folders or step_of(named) < step_of(folders[-1]):  # killed between rename and pointer
        point(parent, "last", folders[-1])
    return folders[-1]


def read_rest(folder: Path) -> dict[str, Any]:
    """Everything but the tensors.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        return torch.load(folder / REST, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError) as error:
        raise CheckpointError(f"{folder / REST} can't be read: {error}") from error


def read_tensors(folder: Path, tensors: dict[str, Any], no_dist: bool = True) -> None:
    """Fills a nested dict of tensors in place.

    Raises:
        CheckpointError: One of them is not in the folder, has another shape, or can't be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load(tensors, storage_reader=dcp.FileSystemReader(folder), no_dist=no_dist)
    except (OSError, EOFError, RuntimeError, ValueError, dcp.CheckpointException) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{folder} can't be read: {reason}") from error


def stored(folder: Path) -> dict[str, Tensor]:
    """The names of a folder's tensors, each with an empty one of its shape and type (on the meta device)."""
    entries = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    return {
        name: torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def _os_error(error: BaseException) -> OSError | None:
    """The OSError inside an error: torch.distributed.checkpoint wraps those of its writers."""
    if isinstance(error, OSError):
        return error
    inner = (
        list(getattr(error, "failures", {}).values()) if isinstance(error, dcp.CheckpointException) else []
    )
    causes = [failure[0] for failure in inner] + [error.__cause__, error.__context__]
    return next((found for cause in causes if cause is not None and (found := _os_error(cause))), None)


def _message(folder: Path, error: OSError) -> str:
    previous = [path for path in saved(folder.parents[1]) if path != folder]
    kept = f"the checkpoint of step {step_of(previous[-1])} is whole" if previous else "there was none before"
    return (
        f"the checkpoint {folder} can't be written: {why_not(error)}\n"
        f"  {kept}; then the same command goes on from there."
    )
