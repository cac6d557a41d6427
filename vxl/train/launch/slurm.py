"""`cluster=slurm`: runs as SLURM jobs, through submitit; a sweep is one array."""

import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from typing_extensions import override

from vxl.atomic import write_text
from vxl.errors import ConfigError
from vxl.option.option import option
from vxl.train.launch.cluster import ANY_CODE, SUBMITTED, AwayConfig, Cluster, Submission, show_requests
from vxl.train.launch.handover import GIVEN_UP, Stopped, hand_over

if TYPE_CHECKING:  # late: submitit, for cluster=slurm alone
    from submitit.core.utils import DelayedSubmission

# Exit statuses after which a job is not tried again: it is done, there is no sense in it, it was cancelled
# (SIGINT, SIGTERM), or it is requeued already (submitit's -1).
_FINAL = (0, GIVEN_UP, 130, 143, 255)


@dataclass(frozen=True, kw_only=True)
class SlurmConfig(AwayConfig):
    """Jobs of SLURM. Nodes, tasks and GPUs follow from trainer.num_nodes and trainer.devices."""

    _target_: str = option("vxl.train.launch.slurm.Slurm", resumable=True)
    partition: str | None = option(None, resumable=True)
    """Partition; null: the cluster's default."""
    account: str | None = option(None, resumable=True)
    """Account to charge."""
    qos: str | None = option(None, resumable=True)
    """Quality of service."""
    constraint: str | None = option(None, resumable=True)
    """Features that the nodes must have, as for sbatch --constraint."""
    minutes: int = option(1440, resumable=True)
    """Time limit of a job. Before it is reached the run saves, the job is requeued, and the run goes on."""
    signal_seconds: int = option(300, resumable=True)
    """How long before the time limit SLURM tells the job so; longer than a step and a save together."""
    cpus_per_task: int | None = option(None, resumable=True)
    """Cores of each process; null: one, and one for each data worker."""
    gpus_per_node: int | None = option(None, resumable=True)
    """GPUs of each node; null: trainer.devices, or none with trainer.accelerator=cpu."""
    mem_gb: int | None = option(None, resumable=True)
    """Memory of a node in GB; null: the cluster's default."""
    at_once: int = option(256, resumable=True)
    """Members of a sweep that run at the same time."""
    timeouts: int = option(100, resumable=True)
    """How often a job may reach its time limit and go on; being preempted is not counted."""
    retries: int = option(2, resumable=True)
    """How often a job that crashed (a lost process, no memory; not a wrong config) is tried again."""
    setup: list[str] = field(default_factory=list, metadata={"resumable": True})
    """Shell lines before the job's own command: module load …"""
    sbatch: str = option("", resumable=True)
    """Any other options of sbatch: cluster.sbatch="--mail-type=END --exclusive"."""

    def __post_init__(self) -> None:
        for name in ("minutes", "at_once"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is too small.\n  expected: 1 or more")
        for name in ("signal_seconds", "timeouts", "retries"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} is too small.\n  expected: 0 or more")
        if self.signal_seconds >= 60 * self.minutes:
            raise ConfigError(
                f"signal_seconds={self.signal_seconds} leaves nothing of minutes={self.minutes}.\n"
                f"  allowed: less than {60 * self.minutes}"
            )


class Job:
    """What a SLURM task does: the command, as if typed in the folder where it was submitted."""

    def __init__(self, script: Path, words: list[str], folder: Path, record: str) -> None:
        self.script, self.words, self.folder, self.record = script, words, folder, record

    def __call__(self) -> None:
        """Runs or resumes the run."""
        os.chdir(self.folder)
        os.environ[SUBMITTED] = self.record
        sys.argv = [str(self.script), *self.words]
        try:
            runpy.run_path(str(self.script), run_name="__main__")
        except Stopped as stop:
            hand_over(stop)
            raise
        except SystemExit as end:
            if end.code:
                raise

    def checkpoint(self) -> "DelayedSubmission":
        """What a requeued job does: the same, which resumes."""
        from submitit.helpers import DelayedSubmission  # late: submitit, for cluster=slurm alone

        return DelayedSubmission(self)


class Slurm(Cluster):
    """Submits; the jobs save and requeue themselves."""

    def __init__(self, config: SlurmConfig) -> None:
        self.config = config

    def parameters(self, submission: Submission) -> dict[str, Any]:
        """Parameters for submitit: sbatch's options by its names for them."""
        config, request = self.config, submission.requests[0]
        trainer = request.trainer
        cpus = config.cpus_per_task or 1 + request.workers
        gpus = config.gpus_per_node
        if gpus is None:
            gpus = 0 if trainer.accelerator == "cpu" else trainer.devices
        failures = shlex.quote(str(submission.folder)) + "/$SLURM_JOB_ID.failures"
        final = " && ".join(f"[ $status -ne {status} ]" for status in _FINAL)
        parameters = {
            "job_name": submission.name,
            "time": config.minutes,
            "nodes": trainer.num_nodes,
            "ntasks_per_node": trainer.devices,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "mem": f"{config.mem_gb}GB" if config.mem_gb else None,
            "partition": config.partition,
            "account": config.account,
            "qos": config.qos,
            "constraint": config.constraint,
            "signal_delay_s": config.signal_seconds,
            "array_parallelism": config.at_once,
            "stderr_to_stdout": True,
            "wckey": None,
            # Since SLURM 22.05 srun does not take this over from sbatch; a dead task must end the others.
            "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={cpus}"],
            "setup": config.setup or None,
            # A task that was killed can't requeue its job; the batch script outlives it.
            "teardown": [
                "status=$?",
                f"if {final}; then",
                f"  echo $status >> {failures}",
                f'  [ "$(wc -l < {failures})" -le {config.retries} ] && scontrol requeue "$SLURM_JOB_ID"',
                "fi",
                "exit $status",
            ],
            "additional_parameters": {
                "requeue": True,
                **dict(map(_sbatch_option, shlex.split(config.sbatch))),
            },
        }
        return {key: value for key, value in parameters.items() if value is not None}

    @override
    def preview(self, submission: Submission, console: Console) -> None:
        """The batch script."""
        submitit_slurm = _submitit().slurm.slurm
        count = len(submission.requests)
        text = submitit_slurm._make_sbatch_string(
            command=f"{sys.executable} -u -m submitit.core._submit {submission.folder}",
            folder=submission.folder,
            map_count=count if count > 1 else None,
            **{"wckey": None, **self.parameters(submission)},
        )
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    @override
    def carry_out(self, submission: Submission, console: Console) -> int:
        """Submits one job, or one array, and says how to watch it; does not wait."""
        submitit = _submitit()
        if shutil.which("sbatch") is None:
            raise ConfigError(
                "cluster=slurm: there is no sbatch here.\n"
                "  type it where SLURM is (a login node); dry_run=true shows what would be submitted\n"
                "  on a machine without SLURM:  cluster=local"
            )
        submission.folder.mkdir(parents=True, exist_ok=True)
        executor = submitit.SlurmExecutor(submission.folder, max_num_timeout=self.config.timeouts)
        executor.update_parameters(**self.parameters(submission))
        record = str(submission.record) if self.config.same_code else ANY_CODE
        jobs = [Job(submission.script, request.words, Path.cwd(), record) for request in submission.requests]
        try:
            with executor.batch():
                submitted = [executor.submit(job) for job in jobs]
        except (submitit.core.utils.FailedJobError, subprocess.SubprocessError) as error:
            message_lines = str(error).strip().splitlines()
            raise ConfigError(
                f"sbatch refused it: {message_lines[-1] if message_lines else error}"
            ) from error
        ids = {request.name: job.job_id for request, job in zip(submission.requests, submitted, strict=True)}
        write_text(
            submission.folder / _JOBS, json.dumps({**_known(submission.folder), **ids}, indent=1) + "\n"
        )
        show_requests(submission.requests, console, ids)
        first = next(iter(ids.values())).partition("_")[0]
        several = len(submission.requests) > 1
        after = submission.after or f"vxl {'compare' if several else 'runs'} {submission.name}"
        console.print(
            f"submitted.  {after}  ·  squeue -j {first}  ·  scancel {first}\n"
            f"output: {submission.folder}/JOB_0_log.out",
            markup=False,
            soft_wrap=True,
        )
        return 0

    @override
    def at_work(self, submission: Submission) -> dict[str, str]:
        """Runs whose jobs are still in the queue."""
        job_ids = _known(submission.folder)
        states = queued(list(job_ids.values()))
        return {name: f"job {job}, {states[job]}" for name, job in job_ids.items() if job in states}


_JOBS = "jobs.json"


def queued(jobs: list[str]) -> dict[str, str]:
    """The states of those jobs that are not over, as squeue has them: {"7_2": "running"}."""
    if not jobs or shutil.which("squeue") is None:
        return {}
    command = ["squeue", "-h", "-r", "-o", "%i|%F|%K|%T", "-u", str(os.getuid())]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    states = {}
    for line in process.stdout.splitlines():
        job, _, _, state = line.split("|")
        if job in jobs:
            states[job] = state.lower()
    return states


def _sbatch_option(word: str) -> tuple[str, str | bool]:
    """`--mail-type=END` as submitit takes it."""
    name, equals, value = word.lstrip("-").partition("=")
    return name, value if equals else True


def _known(folder: Path) -> dict[str, str]:
    """The jobs of earlier commands: {run: job}."""
    try:
        return json.loads((folder / _JOBS).read_text())
    except (OSError, ValueError):
        return {}


def _submitit() -> Any:
    try:
        import submitit  # late: submitit, for cluster=slurm alone
        import submitit.slurm.slurm
    except ModuleNotFoundError as error:
        raise ConfigError(
            "cluster=slurm needs submitit, which is not installed.\n  install it:  pip install 'vxl[slurm]'"
        ) from error
    return submitit
