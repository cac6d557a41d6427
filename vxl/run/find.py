"""Runs on disk: finding one by name, and `vxl runs`, the list of them with their status."""

import contextlib
import csv
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from vxl.errors import ConfigError
from vxl.option.files import CONF
from vxl.option.moved import renewed
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import nearest
from vxl.run.lock import is_held
from vxl.terminal.typed import can_be_path

Status = Literal["new", "running", "finished", "failed", "stopped", "killed"]
"""`stopped` ended by itself before its last step (Ctrl-C, a time limit); `killed` could not."""
# A folder with one of these files is a run.
_MARKS = {"resolved.yaml", "RESULT.json", "FAILED.json"}


@dataclass(frozen=True)
class Run:
    """One run directory, read without importing any of the training code."""

    name: str
    """Path below the runs folder: `NAME`, or `SWEEP/MEMBER`."""
    path: Path

    @property
    def result(self) -> dict[str, Any] | None:
        """RESULT.json, which a run writes last; None while it is unfinished, or where it is damaged."""
        return _json(self.path / "RESULT.json")

    @property
    def failure(self) -> str | None:
        """Why the run failed, if it did."""
        file = self.path / "FAILED.json"
        return str((_json(file) or {}).get("error", "unknown")) if file.exists() else None

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as it ran (resolved.yaml); empty where a run failed before it wrote one."""
        try:
            values = renewed(read_yaml((self.path / "resolved.yaml").read_text()))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return {}  # a list of runs goes on; whoever needs the config says what is wrong with it
        return values if isinstance(values, dict) else {}

    @property
    def status(self) -> Status:
        """What became of the run."""
        lock = self.path / ".lock"
        if is_held(lock):
            return "running"
        if self.failure is not None:
            return "failed"
        if self.result is not None:
            return "finished"
        if lock.exists():
            return "killed"
        # provenance.json is written by a run's first start; before that there is only a preview.
        return "stopped" if (self.path / "provenance.json").exists() or self.step else "new"

    @property
    def metrics(self) -> dict[str, float]:
        """The latest value of every column of metrics.csv."""
        latest: dict[str, float] = {}
        file = self.path / "metrics.csv"
        with (
            contextlib.suppress(OSError),  # absent, or of another user: a list of runs goes on
            file.open(newline="", errors="replace") as lines,
        ):
            for row in csv.DictReader(line.replace("\0", "") for line in lines):
                for name, value in row.items():
                    try:
                        latest[name] = float(value)
                    except (TypeError, ValueError):
                        continue  # an empty cell, or the last line of a run that is being written
        return latest

    @property
    def step(self) -> int:
        """Optimizer steps taken so far."""
        checkpoints = [p.name[5:] for p in (self.path / "checkpoints").glob("step-*") if p.name[5:].isdigit()]
        return int(max([self.metrics.get("step", 0.0), *map(int, checkpoints)]))

    @property
    def steps(self) -> int | None:
        """Optimizer steps that the run is to take."""
        trainer = self.config.get("trainer")
        steps = trainer.get("max_steps") if isinstance(trainer, dict) else None
        return steps if isinstance(steps, int) else None

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.st_size for file in _files(self.path))

    @property
    def age(self) -> float:
        """Seconds since anything was written."""
        return max(0.0, time.time() - max((file.st_mtime for file in _files(self.path)), default=time.time()))


def runs_folder(given: str | None = None) -> Path:
    """The folder of runs: the one given, else that of conf/local/default.yaml, else that of conf/paths."""
    return Path(given or _path("runs") or "runs")


def cache_folder(given: str | None = None) -> Path:
    """The folder of prepared data and fetched weights, found as the folder of runs is."""
    return Path(given or _path("cache") or ".cache/vxl")


def _path(key: str) -> str | None:
    config_file = None
    for file in (CONF / "local" / "default.yaml", CONF / "paths" / "default.yaml"):
        if config_file is None and file.exists():
            try:
                values = read_yaml(file.read_text()) or {}
            except (ValueError, yaml.YAMLError) as error:
                raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())[:300]}") from error
            config_file = (values.get("paths") or {}).get(key) or (
                values.get(key) if file.parent.name == "paths" else None
            )
    return config_file


def list_runs(root: Path) -> list[Run]:
    """Every run below a folder, members of sweeps included, the most recent first."""
    runs = []
    for folder, below, files in os.walk(root):
        if _MARKS & set(files):
            path = Path(folder)
            runs.append(Run(path.relative_to(root).as_posix(), path))
            below.clear()  # a run's own folders are no runs
        else:
            below[:] = [name for name in below if not name.startswith(".")]
    return sorted(runs, key=lambda run: run.age)


def find_run(name: str, root: Path) -> Run:
    """The run called `name`: a name below the runs folder, or the path of a run directory.

    Raises:
        ConfigError: There is no such run; the message lists the nearest names.
    """
    for path in (root / name, Path(name)) if can_be_path(name) else ():
        if path.is_dir() and _MARKS & set(os.listdir(path)):
            return _named(path, root)
    for folder in (root / name, Path(name)) if can_be_path(name) else ():
        members = sorted(
            {file.parent.name for mark in _MARKS for file in folder.glob(f"*/{mark}")}, key=_natural
        )
        if members:
            some = ", ".join(f"{name}/{member}" for member in members[:12]) + (", …" if members[12:] else "")
            raise ConfigError(
                f"{name} is a sweep: name one of its members, {name}/MEMBER.\n  members: {some}"
            )
    raise ConfigError(missing(name, root))


def find_members(name: str, root: Path) -> list[Run]:
    """The members of a sweep, or the run itself where `name` is one; in the order of their names.

    Raises:
        ConfigError: There is neither; the message lists the nearest names.
    """
    if not can_be_path(name):
        raise ConfigError(missing(name, root))
    folder = root / name if (root / name).is_dir() else Path(name)
    members = list_runs(folder) if folder.is_dir() else []
    if not members:
        raise ConfigError(missing(name, root))
    return sorted([_named(run.path, root) for run in members], key=lambda run: _natural(run.name))


def _named(path: Path, root: Path) -> Run:
    """A run by its name below `root`, or by its folder's name where it lies elsewhere."""
    inside = path.resolve().is_relative_to(root.resolve())
    return Run(path.resolve().relative_to(root.resolve()).as_posix() if inside else path.name, path)


def missing(name: str, root: Path) -> str:
    """The message for a run that is not there."""
    names = [run.name for run in list_runs(root) if run.status != "new"]  # of a preview there is nothing
    names += sorted({n.rpartition("/")[0] for n in names if "/" in n})
    lines = [f"there is no run {name!r} in {root}/."]
    close = nearest(name, names)
    if close:
        lines.append("  did you mean " + " or ".join(close) + "?")
    if names:
        lines.append(
            "  runs: " + ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
        )
    else:
        lines.append(f"  there are no runs at all there; start one:  python train.py name={name}")
    lines.append("  another folder of runs: paths.runs=FOLDER")
    return "\n".join(lines)


def _json(file: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where there is none."""
    try:
        loaded = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _files(path: Path) -> Iterator[os.stat_result]:
    """What the system says of each file; a run that is training removes some meanwhile."""
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(os.path.join(folder, name))


def _natural(name: str) -> list[Any]:
    """Sort key by which ratio=4 comes before ratio=16."""
    return [
        (0, float(part), "") if part.replace(".", "", 1).isdigit() else (1, 0.0, part)
        for part in re.split(r"(\d+(?:\.\d+)?)", name)
    ]
