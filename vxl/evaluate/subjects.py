"""Which trained models one command evaluates: a run, the members of a sweep, or a folder of weights."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vxl.checkpoint.layouts import is_published, is_vxl
from vxl.checkpoint.load import load, pick_device
from vxl.checkpoint.resolved import model_parts, with_changes
from vxl.checkpoint.source import Source, find_source
from vxl.errors import CheckpointError, ConfigError
from vxl.evaluate.config import EvaluateConfig
from vxl.evaluate.work.changes import changed_member, expand_changes, fitting, refuse_trained, sweep
from vxl.generate.loaded import LoadedModel
from vxl.run.find import Run, find_members, find_run

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Subject:
    """One trained model."""

    name: str
    folder: Path
    """Its weights: a checkpoint folder, or a folder of weights."""
    place: Path
    """Folder of its results."""
    values: Mapping[str, Any]
    """Its resolved config."""
    status: str = "finished"
    run: Run | None = None
    family: str | None = None
    """Of published weights: the model whose wording they know."""

    @property
    def note(self) -> str | None:
        """What to say of a run that is not finished."""
        if self.run is None or self.status == "finished":
            return None
        steps = f" of {self.run.steps}" if self.run.steps else ""
        where = f"{self.status}, step {self.run.step}{steps}"
        return f"{self.name} is not finished ({where}): evaluating {self.folder.name}"


def subjects(config: EvaluateConfig) -> list[Subject]:
    """The models that `run=` or `weights=` name.

    Raises:
        ConfigError: Neither or both are given, or there is no such run.
        CheckpointError: None of them has such a checkpoint.
    """
    if (config.run is None) == (config.weights is None):
        got = "" if config.run is None else f" run={config.run} and weights={config.weights} name two."
        raise ConfigError(
            f"which model?{got}\n  type one of\n    run=NAME         a run or a sweep (vxl runs lists them)\n"
            "    weights=FOLDER   vxl's own weights or published ones"
        )
    runs = Path(config.paths.runs)
    if config.weights is not None:
        return [_of_weights(Path(config.weights).expanduser(), config)]
    assert config.run is not None
    try:
        source = find_source(config.run, runs, config.checkpoint)
    except ConfigError:
        members = find_members(config.run, runs)  # raises with the nearest names where it is no sweep either
        return _of_sweep(members, config)
    if source.is_folder_of_weights:
        return [_of_weights(source.path, config)]
    if source.kind == "config":
        raise ConfigError(
            f"run={config.run} is a config file, which has no trained weights.\n  type  run=NAME"
        )
    return [_of_run(source, config)]


def members_of(subject: Subject, config: EvaluateConfig) -> list[tuple[str, ...]]:
    """The changes of each member that is to be evaluated; one empty tuple: the model as it was trained.

    Raises:
        ConfigError: A change is not possible at evaluation, or names nothing.
    """
    refuse_trained(config.change, subject.values)
    typed_changes = expand_changes(config.change)
    members = [()] if config.members is None else sweep(config.members, subject.values)
    changes_of_members = [
        *dict.fromkeys(
            changed_member(ours, fitting(ours, words)) for ours in members for words in typed_changes
        )
    ]
    for changes in changes_of_members:
        refuse_trained(changes, subject.values)
    if len(changes_of_members) == 1:
        changed_settings(subject, changes_of_members[0])
    return changes_of_members


def changed_settings(subject: Subject, changes: Sequence[str]) -> dict[str, Any]:
    """The resolved config with changes, checked.

    Raises:
        ConfigError: A change names nothing, or has a wrong value.
    """
    values = with_changes(dict(subject.values), changes)
    model_parts(values)
    return values


def load_subject(subject: Subject, config: EvaluateConfig, changes: Sequence[str] = ()) -> LoadedModel:
    """Loads a model.

    Args:
        subject: Which.
        config: Says where and in which precision.
        changes: Of how trained parts run, which can't be exchanged around loaded weights.
    """
    dtype = None if config.precision == "auto" else _DTYPES[config.precision]
    model = load(subject.folder, device=config.device, overrides=changes, runs=config.paths.runs, dtype=dtype)
    model.use_threads_of_training()
    return model


def computing(config: EvaluateConfig) -> dict[str, str]:
    """On what kind of device and in which precision, for the protocol."""
    return {"device": pick_device(config.device).type, "precision": config.precision}


def _of_run(source: Source, config: EvaluateConfig) -> Subject:
    assert source.step is not None
    run = find_run(str(source.path), Path(config.paths.runs))
    out = source.path / "evaluate" if config.output is None else Path(config.output) / run.name
    return Subject(run.name, source.step.path, out, source.values(), run.status, run)


def _of_sweep(members: Sequence[Run], config: EvaluateConfig) -> list[Subject]:
    """The members that have the checkpoint; the others are left out, and named by the caller's table."""
    subjects, reasons = [], []
    for run in members:
        try:
            source = find_source(run.path, Path(config.paths.runs), config.checkpoint)
            subjects.append(_of_run(source, config))
        except (CheckpointError, ConfigError) as error:
            reasons.append(f"{run.name}: {str(error).splitlines()[0]}")
    if not subjects:
        raise CheckpointError(f"no member of {config.run} can be evaluated:\n  " + "\n  ".join(reasons[:8]))
    return subjects


def _of_weights(folder: Path, config: EvaluateConfig) -> Subject:
    if not (is_vxl(folder) or is_published(folder)):
        raise ConfigError(
            f"weights={folder}: no folder of weights.\n  expected: published weights, or what `vxl import` "
            "wrote\n  a run:  run=NAME"
        )
    values = find_source(folder, Path(config.paths.runs)).values()
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
    base = Path(config.paths.runs) / "weights" if config.output is None else Path(config.output)
    name = folder.resolve().name
    return Subject(
        name, folder, base / f"{name}-{digest}" / "evaluate", values, family=str(values.get("model"))
    )
