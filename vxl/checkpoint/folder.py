"""Checkpoint folders of a run, and reading weights from one, with nothing but torch.

`runs/NAME/checkpoints/step-000123/` is a torch.distributed.checkpoint folder in which the model's tensors
are `model.<name>`, whatever strategy wrote them. A folder appears under its name only when it is complete;
the small files `last` and `best` beside the folders hold the name of one each.
"""

import re
from pathlib import Path

from vxl.errors import CheckpointError

MODEL = "model."
_STEP = re.compile(r"step-(\d+)")


def step_of(folder: Path) -> int:
    """The optimizer step after which a checkpoint folder was written."""
    match = _STEP.fullmatch(folder.name)
    if match is None:
        raise CheckpointError(f"{folder} is not a checkpoint folder.\n  expected a name like step-000123")
    return int(match[1])


def saved(run: Path) -> list[Path]:
    """The complete checkpoint folders of a run, oldest first."""
    folders = [path for path in (run / "checkpoints").glob("step-*") if _STEP.fullmatch(path.name)]
    return sorted((path for path in folders if (path / ".metadata").exists()), key=step_of)


def choose(run: Path, which: str | int = "last") -> Path:
    """One checkpoint folder of a run.

    Args:
        run: The run's directory.
        which: "last", "best", or a step.

    Raises:
        CheckpointError: The run has no checkpoint, or not this one; the message lists those it has.
    """
    folders = saved(run)
    if not folders:
        raise CheckpointError(
            f"{run} has no checkpoint yet.\n  expected: {run}/checkpoints/step-000123/\n"
            f"  train it further:  python train.py … name={run.name}"
        )
    names = {str(step_of(path)): path for path in folders}
    if str(which) in names:
        return names[str(which)]
    pointer = run / "checkpoints" / str(which)
    if which in ("last", "best") and pointer.is_file():
        named = pointer.parent / pointer.read_text().strip()
        if named in folders:
            return named
    if which == "last":  # the process died between the folder's rename and the pointer's
        return folders[-1]
    raise CheckpointError(
        f"{run} has no checkpoint {which}.\n  choose one of: last, "
        + ("best, " if (run / "checkpoints" / "best").is_file() else "")
        + ", ".join(names)
    )
