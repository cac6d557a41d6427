"""`init_from=run|path`: a warm start, with a report of what was loaded, what is new, what was ignored."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vxl.checkpoint.folder import MODEL, choose
from vxl.errors import CheckpointError
from vxl.runs import find_run
from vxl.train import folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
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


def start_from(source: str, model: nn.Module, runs: Path) -> Report:
    """Fills a model with other weights, as far as they fit.

    Args:
        source: Name of a run below `runs`, or path of a run, a checkpoint, or a folder of safetensors.
        model: The model; tensors that the source lacks, or has in another shape, stay as they are.
        runs: The folder of runs.

    Raises:
        CheckpointError: Not a single tensor fits.
        ConfigError: There is no such run or folder.
    """
    path = Path(source)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    if files:
        place, theirs = path, _safetensors(files)
    else:
        place = path if (path / ".metadata").exists() else choose(find_run(source, runs).path, "last")
        theirs = {
            name.removeprefix(MODEL): like
            for name, like in folder.stored(place).items()
            if name.startswith(MODEL)
        }
    ours = model.state_dict()
    shared = [name for name in ours if name in theirs]
    fit = [name for name in shared if ours[name].shape == theirs[name].shape]
    report = Report(
        source=place,
        loaded=fit,
        new=[name for name in ours if name not in theirs],
        ignored=[name for name in theirs if name not in ours],
        reshaped=[
            (name, tuple(theirs[name].shape), tuple(ours[name].shape)) for name in shared if name not in fit
        ],
    )
    if not fit:
        raise CheckpointError("no tensor fits the model.\n  " + "\n".join(report.lines()))
    if files:
        with torch.no_grad():
            for name in fit:
                ours[name].copy_(theirs[name])
    else:
        wanted: dict[str, Any] = {MODEL.rstrip("."): {name: ours[name] for name in fit}}
        folder.read_tensors(place, wanted)
    for line in report.lines():
        log.info("%s", line)
    return report


def _safetensors(files: list[Path]) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {name: tensor for file in files for name, tensor in load_file(file).items()}
