"""Where runs are carried out: `cluster=none` (here), `local` (processes), `slurm` (slurm.py)."""

import abc
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.option.option import Option, option
from vxl.run.find import Run
from vxl.run.typing_next import next_words
from vxl.table import Listing
from vxl.train.launch.local_tasks import Task, run_tasks
from vxl.train.trainer import TrainerConfig

SUBMITTED = "VXL_SUBMITTED"
"""Set in the processes that a cluster starts, which submit nothing: the file of what was submitted."""
PROGRESS_EVERY = 60.0
"""Seconds between lines about how far the runs of cluster=local are."""
ANY_CODE = "any"
"""Its value where it does not matter with which code they run."""


def is_submitted() -> bool:
    """Whether a cluster has started this process."""
    return SUBMITTED in os.environ


@dataclass(frozen=True)
class RunRequest:
    """One run that a cluster is to carry out."""

    name: str
    """The run's name below paths.runs."""
    words: list[str]
    """Its overrides, as on the command line."""
    directory: Path
    """The run directory."""
    trainer: TrainerConfig
    """On how many processes of how many machines, with which devices."""
    workers: int
    """Data workers of each process."""


@dataclass(frozen=True)
class Submission:
    """What one command asks a cluster for."""

    script: Path
    """`train.py`."""
    name: str
    """The sweep's name, or the run's."""
    folder: Path
    """Where logs and records of the cluster go, below the sweep's folder or the run's."""
    record: Path
    """File of what was submitted, with which code (vxl.run.code)."""
    requests: list[RunRequest]
    after: str | None = None
    """What to do once it is submitted, in words; None for what runs of a training have."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(Option):
    """Keys of every cluster (none so far)."""


@dataclass(frozen=True, kw_only=True)
class HereConfig(ClusterConfig):
    """Here and now, in this process."""

    _target_: str = option("vxl.train.launch.cluster.Here", resumable=True)


@dataclass(frozen=True, kw_only=True)
class AwayConfig(ClusterConfig):
    """Keys of every cluster that starts processes of their own, now or later."""

    same_code: bool = option(True, resumable=True)
    """Refuse to start, or to go on, with other code or configs than those that were there on submission."""


@dataclass(frozen=True, kw_only=True)
class LocalConfig(AwayConfig):
    """Processes of this machine, several at once."""

    _target_: str = option("vxl.train.launch.cluster.Local", resumable=True)
    at_once: int | None = option(None, resumable=True)
    """Runs at the same time; null: one for every trainer.devices GPUs, or without GPUs as many as there are
    cores for trainer.threads."""

    def __post_init__(self) -> None:
        if self.at_once is not None and self.at_once < 1:
            raise ConfigError(f"at_once={self.at_once} is too small.\n  expected: null, or 1 or more")


class Cluster(abc.ABC):
    """Carries out runs."""

    here = False
    """Whether this process itself does."""

    @abc.abstractmethod
    def preview(self, submission: Submission, console: Console) -> None:
        """Says how it would carry them out."""

    @abc.abstractmethod
    def carry_out(self, submission: Submission, console: Console) -> int:
        """Does so and returns an exit status."""

    def at_work(self, submission: Submission) -> dict[str, str]:
        """Runs that it already has from an earlier command: {name: how}."""
        return {}


class Here(Cluster):
    """This process; `vxl.config.compose` need not ask it for anything."""

    here = True

    def __init__(self, config: HereConfig) -> None:
        self.config = config

    @override
    def preview(self, submission: Submission, console: Console) -> None:
        pass

    @override
    def carry_out(self, submission: Submission, console: Console) -> int:
        return 0


class Local(Cluster):
    """Processes of this machine, each with GPUs of its own; one that fails does not stop the others."""

    def __init__(self, config: LocalConfig) -> None:
        self.config = config

    def slots(self, trainer: TrainerConfig) -> list[dict[str, str]]:
        """The variables of every place where a run may go: which GPUs it sees."""
        gpus = _gpus() if trainer.accelerator != "cpu" else []
        groups = [gpus[i : i + trainer.devices] for i in range(0, len(gpus), trainer.devices)]
        groups = [group for group in groups if len(group) == trainer.devices]
        if not groups:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            count = self.config.at_once or max(1, cores // (trainer.devices * (trainer.threads or cores)))
            return [{}] * count
        count = self.config.at_once or len(groups)
        return [{"CUDA_VISIBLE_DEVICES": ",".join(groups[i % len(groups)])} for i in range(count)]

    @override
    def preview(self, submission: Submission, console: Console) -> None:
        """How many at once, and on which GPUs."""
        for i, slot in enumerate(self.slots(submission.requests[0].trainer)):
            console.print(f"place {i}: {slot.get('CUDA_VISIBLE_DEVICES', 'CPU')}", markup=False)

    @override
    def carry_out(self, submission: Submission, console: Console) -> int:
        """Runs them and shows what became of each; Ctrl-C lets those that run save and stop."""
        slots = self.slots(submission.requests[0].trainer)
        console.print(
            f"{len(submission.requests)} runs, {min(len(slots), len(submission.requests))} at once",
            markup=False,
        )
        tasks = [
            Task(
                request.name,
                [sys.executable, str(submission.script), *request.words],
                {SUBMITTED: str(submission.record) if self.config.same_code else ANY_CODE},
                log=submission.folder / f"{request.directory.name}.log",
            )
            for request in submission.requests
        ]

        def ended(task: Task) -> None:
            how = "done" if task.status == 0 else f"ended with status {task.status}, see {task.log}"
            console.print(f"{task.name}: {how}", markup=False, soft_wrap=True)

        watcher = _Watcher({request.name: request.directory for request in submission.requests}, console)
        signal_number = run_tasks(tasks, len(slots), slots=slots, on_end=ended, waiting_for=watcher.see)
        show_requests(submission.requests, console)
        if signal_number is not None:
            console.print("stopped; the same command goes on with what is not finished", markup=False)
            return 128 + signal_number
        if len(tasks) > 1:
            sweep = submission.folder.parent.name
            compare = next_words("compare", sweep, runs=str(submission.folder.parents[1]))
            console.print(f"compare:  {compare}", markup=False, highlight=False, soft_wrap=True)
        return 1 if any(task.status for task in tasks) else 0


class _Watcher:
    """Says what runs: which run began and where its output goes, and from time to time how far each is."""

    def __init__(self, directories: dict[str, Path], console: Console) -> None:
        self.directories, self.console = directories, console
        self.known: set[str] = set()
        self.said = time.monotonic()

    def see(self, tasks: Sequence[Task]) -> None:
        """Called while tasks run."""
        for task in tasks:
            if task.name not in self.known:
                self.known.add(task.name)
                number = f"{len(self.known)} of {len(self.directories)}"
                self._print(f"{task.name} ({number}) runs; its output:  tail -f {task.log}")
        if time.monotonic() - self.said < PROGRESS_EVERY:
            return
        self.said = time.monotonic()
        for task in tasks:
            run = Run(task.name, self.directories[task.name])
            self._print(f"{task.name}: step {run.step} of {run.steps}")

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def show_requests(
    requests: Sequence[RunRequest], console: Console, notes: dict[str, str] | None = None
) -> None:
    """A table of runs: what became of each, or what a cluster has to say about it."""
    rows = []
    for request in requests:
        run = Run(request.name, request.directory)
        why = (run.failure or "").partition("\n")[0] if notes is None else notes.get(request.name, "")
        rows.append((escape(request.name), run.status, escape(why)))
    last = ("why" if notes is None else "job",) if any(why for *_, why in rows) else ()
    table = Listing("", ("run", "status", *last), words=("status", *last))
    for row in rows:
        table.add(*row[: 2 + len(last)])
    table.show(console)


def _gpus() -> list[str]:
    """The GPUs that this process sees, by the names under which a process of its own would."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name for name in visible.split(",") if name] if visible is not None else None
    count = torch.cuda.device_count()
    return names[:count] if names is not None else [str(i) for i in range(count)]
