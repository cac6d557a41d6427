"""`init_from=run|path`: a warm start, with a report of what was loaded, what is new, what was ignored."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vxl.checkpoint.fill import wanted
from vxl.checkpoint.layouts import is_published, is_vxl
from vxl.checkpoint.source import find_source
from vxl.checkpoint.stage_file import is_stage_file, open_stage_file
from vxl.checkpoint.step_folder import MODEL
from vxl.errors import CheckpointError
from vxl.llm.lora import is_update
from vxl.model import VideoLanguageModel
from vxl.weights.stored import Stored, open_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmStart:
    """What became of the tensors of a warm start."""

    source: Path
    loaded: list[str]
    new: list[str]
    """In the model alone: they keep their fresh values."""
    ignored: list[str]
    """In the source alone."""
    reshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]]
    """In both with different shapes (source, model): they keep their fresh values."""

    def lines(self, most: int = 6) -> list[str]:
        """The report in words, the first few names of each kind."""
        text = [f"warm start from {self.source}: {len(self.loaded)} tensors loaded"]
        shapes = [f"{name} {list(theirs)} -> {list(ours)}" for name, theirs, ours in self.reshaped]
        for kind, names in (("new", self.new), ("ignored", self.ignored), ("another shape, new", shapes)):
            if names:
                more = f", … ({len(names)} in all)" if len(names) > most else ""
                text.append(f"  {kind}: {', '.join(names[:most])}{more}")
        return text


def warm_start(source: str, model: nn.Module, runs: Path) -> WarmStart:
    """Fills a model with other weights, as far as they fit.

    Args:
        source: Name of a run below `runs`, or path of a run, a checkpoint, a folder of weights (vxl's or a
            published one), a folder of safetensors, or a file of one part (dts.pth, a projector).
        model: The model; tensors that the source lacks, or has in another shape, stay as they are.
        runs: The folder of runs.

    Raises:
        CheckpointError: Not a single tensor fits, or not all of a file of one part.
        ConfigError: There is no such run or folder.
    """
    path = Path(source).expanduser()
    files, source_found = _files_of_parts(path), None
    if files is None:
        source_found = find_source(source, runs)
        files = None if source_found.step else source_found.weights().tensors
    step = None if source_found is None else source_found.step
    theirs: Mapping[str, Any]
    if step is None:
        assert files is not None
        place, theirs = path, files
    else:
        place = step.path
        theirs = {
            name.removeprefix(MODEL): like for name, like in step.outline().items() if name.startswith(MODEL)
        }
    ours = {name: tensor.detach() for name, tensor in wanted(model).items()}
    updates = [name for name in theirs if is_update(name)]
    misfits = [name for name in updates if name not in ours or ours[name].shape != theirs[name].shape]
    if step is not None and source_found is not None and misfits:
        # Updates that have no place here are not lost: they are added to the weights beside them.
        theirs = files = source_found.weights().tensors
    common = [name for name in ours if name in theirs]
    fit = [name for name in common if ours[name].shape == theirs[name].shape]
    report = WarmStart(
        source=place,
        loaded=fit,
        new=[name for name in ours if name not in theirs],
        ignored=[name for name in theirs if name not in ours],
        reshaped=[
            (name, tuple(theirs[name].shape), tuple(ours[name].shape)) for name in common if name not in fit
        ],
    )
    if is_stage_file(path) and len(fit) < len(theirs):
        raise CheckpointError(
            f"{path}: {len(fit)} of its {len(theirs)} tensors fit; a part is loaded whole or not.\n  "
            + "\n  ".join(report.lines())
        )
    if not fit:
        raise CheckpointError("no tensor fits the model.\n  " + "\n".join(report.lines()))
    if files is not None:
        with torch.no_grad():
            for name in fit:
                ours[name].copy_(files[name].read())
    else:
        assert step is not None
        step.read_into({MODEL.rstrip("."): {name: ours[name] for name in fit}})
    if isinstance(model, VideoLanguageModel):
        # Beacons that the source lacks start from the ordinary weights it has.
        model.llm.start_beacons([name.removeprefix("llm.") for name in report.new])
    for line in report.lines():
        log.info("%s", line)
    return report


def _files_of_parts(path: Path) -> dict[str, Stored] | None:
    """The tensors of a file of one part or of a folder of such files, by our names; None if it is neither."""
    if is_stage_file(path):
        return open_stage_file(path).tensors
    if is_vxl(path) or is_published(path):
        return None
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    return {name: tensor for file in files for name, tensor in open_file(file).items()} or None
