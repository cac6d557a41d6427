"""Errors of PyTorch and the operating system in a user's words: what happened, and what to do."""

import contextlib
from collections.abc import Generator
from pathlib import Path

from vxl.atomic import why_not
from vxl.data.order.worker import lost_worker
from vxl.errors import GOES_ON, CheckpointError, LostError
from vxl.faults import refused_by_disk


@contextlib.contextmanager
def name_a_lost_worker() -> Generator[None]:
    """Raises a LostError for a data worker that died, where PyTorch raises a RuntimeError.

    It may raise that wherever the main thread is. A worker that hangs is named by its loader.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).partition("\n")[0]
        if not text.startswith("DataLoader worker"):
            raise
        raise LostError(lost_worker(text)) from error


@contextlib.contextmanager
def name_a_full_disk(path: Path) -> Generator[None]:
    """Raises a CheckpointError where a disk is full or read-only, whichever file met it first."""
    try:
        yield
    except Exception as error:
        refused = refused_by_disk(error)
        if refused is None:
            raise
        place = Path(refused.filename or path)
        elsewhere = "paths.runs=FOLDER" if place.is_relative_to(path) else "paths.cache=FOLDER"
        raise CheckpointError(
            f"{place} can't be written: {why_not(refused, elsewhere)}\n"
            f"  what was saved is whole; then {GOES_ON}."
        ) from error
