"""The checkpoint that a run goes on from: the newest one that is whole."""

import logging
import shutil
from pathlib import Path

from vxl.atomic import remove_leftovers
from vxl.checkpoint.step_folder import STEP, StepFolder, point_to, pointed_to, step_folders
from vxl.errors import CheckpointError

log = logging.getLogger(__name__)


def newest_to_resume(checkpoints: Path) -> StepFolder | None:
    """Removes what a kill left unfinished and gives the newest whole checkpoint, which `last` then names.

    A damaged one is set aside under another name, with a warning, as long as there is one before it.

    Raises:
        CheckpointError: The only one left lost a file, or is damaged; says what to do.
        LostError: The disk did not answer for `data.patience` seconds.
    """
    # The run is locked, so no one writes there now; the second form is that of earlier releases.
    for part in [*checkpoints.glob(".*.part"), *checkpoints.glob(".part-*")]:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()
    remove_leftovers(checkpoints.parent)
    folders = [StepFolder(path) for path in checkpoints.glob("step-*") if _holds_tensors(path)]
    folders.sort(key=lambda folder: folder.step)
    while folders:
        newest = folders.pop()
        try:
            newest.verify()
        except CheckpointError as error:
            if not folders:
                raise
            log.warning(
                "%s\n  so the run goes on from the checkpoint of step %d; the damaged one is kept in %s",
                str(error).partition("\n")[0],
                folders[-1].step,
                newest.set_aside(),
            )
            continue
        last = pointed_to(checkpoints, "last")
        if last not in step_folders(checkpoints.parent) or last.step < newest.step:  # killed in between
            point_to(checkpoints, "last", newest)
        return newest
    return None


def _holds_tensors(path: Path) -> bool:
    """Whether a checkpoint was written there, though it may have lost a file since."""
    return bool(STEP.fullmatch(path.name)) and (StepFolder(path).is_complete or any(path.glob("*.distcp")))
