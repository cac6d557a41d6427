"""Weights out of a checkpoint into a model that is there."""

import warnings
from pathlib import Path

from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from vxl.checkpoint.folder import MODEL
from vxl.checkpoint.load_weights import fill_from
from vxl.checkpoint.source import is_weights
from vxl.errors import CheckpointError
from vxl.llm.lora import is_update
from vxl.model import VideoLanguageModel


def read_weights(folder: Path, model: nn.Module) -> None:
    """Fills a model with the weights of a checkpoint or of a folder of weights, in place.

    Every tensor must be there and fit.

    Raises:
        CheckpointError: The folder is incomplete, or its tensors are not the model's.
    """
    if is_weights(folder):
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
