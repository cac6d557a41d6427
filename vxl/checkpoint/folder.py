"""Checkpoint folders of a run, and reading weights from one, with nothing but torch.

`runs/NAME/checkpoints/step-000123/` is a torch.distributed.checkpoint folder in which the model's tensors
are `model.<name>`, whatever strategy wrote them. A folder appears under its name only when it is complete;
the small files `last` and `best` beside the folders hold the name of one each.
"""

import re
import warnings
from pathlib import Path

from torch import nn

from vxl.errors import CheckpointError
from vxl.llm.lora import is_update

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


def read_weights(folder: Path, model: nn.Module) -> None:
    """Fills a model with the weights of a checkpoint or of a folder of weights, in place.

    Every tensor must be there and fit.

    Raises:
        CheckpointError: The folder is incomplete, or its tensors are not the model's.
    """
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    from vxl.checkpoint.source import is_weights

    if is_weights(folder):
        from vxl.checkpoint.load_weights import fill_from
        from vxl.model import VideoLanguageModel

        assert isinstance(model, VideoLanguageModel)
        fill_from(folder, model)
        return
    if not (folder / ".metadata").exists():
        raise CheckpointError(f"{folder} is no complete checkpoint: it has no .metadata file.")
    stored = {
        name.removeprefix(MODEL): tuple(entry.size)
        for name, entry in dcp.FileSystemReader(folder).read_metadata().state_dict_metadata.items()
        if name.startswith(MODEL) and isinstance(entry, TensorStorageMetadata)
    }
    wanted = model.state_dict()
    if not any(is_update(name) for name in stored):  # a base: LoRA's updates start anew
        wanted = {name: tensor for name, tensor in wanted.items() if not is_update(name)}
    problems = [f"{name}: not in the checkpoint" for name in wanted if name not in stored]
    problems += [f"{name}: not in the model" for name in stored if name not in wanted]
    problems += [
        f"{name}: {list(stored[name])} in the checkpoint, {list(tensor.shape)} in the model"
        for name, tensor in wanted.items()
        if name in stored and stored[name] != tuple(tensor.shape)
    ]
    if problems:
        listed = "\n  ".join(
            problems[:8] + ([f"… and {len(problems) - 8} more"] if len(problems) > 8 else [])
        )
        raise CheckpointError(
            f"the weights of {folder} don't fit the model ({len(problems)} of {len(wanted)} tensors).\n"
            f"  {listed}\n  the configuration that wrote them is resolved.yaml in the run's directory"
        )
    try:
        with warnings.catch_warnings():  # torch announces that one process reads alone, which is what we want
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load({MODEL.rstrip("."): wanted}, checkpoint_id=folder, no_dist=True)
    except (dcp.CheckpointException, OSError, EOFError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{folder} can't be read: {reason}\n  another one of this run: checkpoint=STEP"
        ) from error
