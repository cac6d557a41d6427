"""Several workers for one evaluation: processes of this machine, or SLURM tasks.

A worker is the same command once more. They share the videos through claims (vxl.evaluate.work.claims), so
none has to know how many there are.
"""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from vxl.errors import ConfigError
from vxl.evaluate.config import EvaluateConfig
from vxl.train.launch.cluster import HereConfig, LocalConfig, RunRequest, Submission, is_submitted
from vxl.train.launch.local_tasks import Task, run_tasks
from vxl.train.launch.slurm import Slurm, SlurmConfig
from vxl.train.trainer import TrainerConfig

WORKER = "VXL_EVALUATION_WORKER"
"""Set in processes that only answer: their parent reports."""
_SLURM_TASKS = 4


@dataclass(frozen=True)
class Command:
    """The command that every worker runs."""

    script: Path
    words: list[str]

    @classmethod
    def typed(cls) -> "Command":
        """As this process was called, without what says where workers run."""
        away = ("cluster=", "cluster.", "workers=")
        return cls(Path(sys.argv[0]).absolute(), [word for word in sys.argv[1:] if not word.startswith(away)])


def is_worker() -> bool:
    """Whether this process is one of several that another one started."""
    return bool(os.environ.get(WORKER)) or is_submitted()


def wants_workers(config: EvaluateConfig) -> bool:
    """Whether this process should start others."""
    return not isinstance(config.cluster, HereConfig) and not is_worker()


def start(config: EvaluateConfig, console: Console, command: Command | None = None) -> bool:
    """Starts the workers.

    Returns:
        Whether all questions are answered, and this process is to report; False where SLURM has them.

    Raises:
        ConfigError: No worker came through, or there is no SLURM.
    """
    command = command or Command.typed()
    if isinstance(config.cluster, LocalConfig):
        _here(config, config.cluster, console, command)
        return True
    if isinstance(config.cluster, SlurmConfig):
        _submit(config, config.cluster, console, command)
        return False
    raise ConfigError(f"cluster={config.cluster._target_} can't run workers.\n  allowed: none, local, slurm")


def _here(config: EvaluateConfig, cluster: LocalConfig, console: Console, command: Command) -> None:
    """Processes of this machine, each with a GPU of its own where there are GPUs."""
    gpus = torch.cuda.device_count() if config.device in ("auto", "cuda") else 0
    count = config.workers or cluster.at_once or gpus or 2
    slots = [{"CUDA_VISIBLE_DEVICES": str(n % gpus)} if gpus else {} for n in range(count)]
    logs = Path(config.paths.runs) / ".workers"
    logs.mkdir(parents=True, exist_ok=True)
    tasks = [
        Task(
            f"worker {number}",
            [sys.executable, str(command.script), *command.words],
            {WORKER: str(number + 1)},
            logs / f"{os.getpid()}-{number}.log",
        )
        for number in range(count)
    ]
    console.print(f"{count} workers share the videos; their output: {logs}/{os.getpid()}-*.log", markup=False)
    signal_number = run_tasks(tasks, count, slots)
    failures = [task for task in tasks if task.status != 0]
    if signal_number is not None:
        raise SystemExit(128 + signal_number)
    for task in failures:
        assert task.log is not None
        last_lines = task.log.read_text(errors="replace").strip().splitlines()[-6:]
        console.print(
            f"{task.name} ended with status {task.status}:\n  " + "\n  ".join(last_lines),
            markup=False,
            style="red",
        )
    if len(failures) == count:
        raise ConfigError(f"all {count} workers failed; the first one's output: {tasks[0].log}")


def _submit(config: EvaluateConfig, cluster: SlurmConfig, console: Console, command: Command) -> None:
    """An array of SLURM tasks, each of which reports when all questions are answered: the same bytes."""
    count = config.workers or _SLURM_TASKS
    needs = TrainerConfig(accelerator="cpu" if config.device == "cpu" else "auto", devices=1, num_nodes=1)
    name = "evaluate-" + Path(str(config.run or config.weights)).name
    folder = Path(config.paths.runs) / ".workers" / name
    requests = [
        RunRequest(f"{name}-{number}", command.words, folder / f"{number}", needs, 0)
        for number in range(count)
    ]
    after = "the last worker writes the report; the command without cluster= shows it"
    submission = Submission(command.script, name, folder, folder / "code.json", requests, after)
    Slurm(replace(cluster, same_code=False)).carry_out(submission, console)
