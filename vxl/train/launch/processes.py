"""The processes of a run: who started them, which one this is, and what they settle together.

Started as one plain `python train.py`, a run with several devices starts the others itself, with the same
command line. Under torchrun or srun they are there already. Either way every process takes the same way
through `vxl.train.run`, and what only one may do (take the lock, write files) the first one does.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import distributed as dist

from vxl.errors import GOES_ON, ConfigError, LostError, VxlError
from vxl.terminal.say import say
from vxl.train.trainer import TrainerConfig

log = logging.getLogger(__name__)

WAIT = timedelta(minutes=30)  # for a process that does not come; NCCL would wait for ten
# Seconds that the first process has for an error message of its own after another one died.
GRACE = 15.0
_PARENT = "VXL_PARENT"
# How the processes of an interrupted run end, which is no loss.
_INTERRUPTED = {128 + n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen by one of them."""

    launcher: Literal["python", "torchrun", "SLURM"] = "python"
    """Who started them."""
    rank: int = 0
    """This process, of `ranks`."""
    ranks: int = 1
    """Processes in all."""
    local: int = 0
    """This process, of those on its machine."""
    node: int = 0
    """The machine."""
    nodes: int = 1
    """Machines."""
    job: str | None = None
    """The SLURM job, as squeue names it."""

    def __str__(self) -> str:
        tasks = self.ranks // self.nodes
        return (
            f"launched by {self.launcher}{f', job {self.job}' if self.job else ''}: {self.nodes} "
            f"node{'s' * (self.nodes > 1)} x {tasks} task{'s' * (tasks > 1)}"
        )

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0


@contextlib.contextmanager
def join_processes(config: TrainerConfig, cuda: bool, swept: bool = False) -> Generator[Processes]:
    """Joins the run's processes, after starting them if nothing else did.

    Args:
        config: Says how many there should be.
        cuda: Whether they compute on GPUs.
        swept: Whether this run is one of several that this process carries out.

    Raises:
        ConfigError: There are more or fewer than the config says, or they can't be started from here.
        LostError: One of them ended before its time.
    """
    ranks = config.devices * config.num_nodes
    processes = launched_processes(os.environ)
    if processes is None:
        _refuse_from_here(config, swept)
        processes = Processes(ranks=ranks, job=_job(os.environ))
        others = _start(ranks) if ranks > 1 else []
    else:
        others = []
        if (processes.ranks, processes.nodes) != (ranks, config.num_nodes):
            raise ConfigError(_otherwise(processes, config))
    if processes.ranks == 1:
        yield processes
        return
    if config.threads is None and not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(max(1, torch.get_num_threads() // config.devices))
    joins = not dist.is_initialized()
    if joins:
        _join(processes, cuda)
    guard = _Guard(others)
    try:
        yield processes
        guard.wait()
    except Exception as error:
        reason = guard.reason() or _silence(error)
        if isinstance(error, VxlError) or reason is None:
            raise
        raise LostError(reason) from error
    except SystemExit:  # an interrupted run: the others are about to end as well
        guard.close(patience=60)
        raise
    finally:
        guard.close(patience=2)
        if joins:
            dist.destroy_process_group()


def launched_processes(env: os._Environ[str] | dict[str, str]) -> Processes | None:
    """The processes that whoever started this process made it part of; None for a plain `python`."""
    if int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "RANK" not in env:
        return Processes(
            launcher="SLURM",
            rank=int(env["SLURM_PROCID"]),
            ranks=int(env["SLURM_STEP_NUM_TASKS"]),
            local=int(env["SLURM_LOCALID"]),
            node=int(env.get("SLURM_NODEID", "0")),
            nodes=int(env.get("SLURM_STEP_NUM_NODES", "1")),
            job=_job(env),
        )
    if "RANK" not in env or "WORLD_SIZE" not in env:
        return None
    return Processes(
        launcher="python" if _PARENT in env else "torchrun",
        rank=int(env["RANK"]),
        ranks=int(env["WORLD_SIZE"]),
        local=int(env.get("LOCAL_RANK", env["RANK"])),
        node=int(env.get("GROUP_RANK", "0")),
        nodes=max(1, int(env["WORLD_SIZE"]) // int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"]))),
        job=_job(env),
    )


def _silence(error: Exception) -> str | None:
    """What an error says of another process, if it is that one does not answer any more.

    It is felt in the middle of whatever the processes were settling; of gloo's errors only the text tells.
    """
    if not isinstance(error, dist.DistError) and not (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    ):
        return None
    return (
        "another process of the run does not answer any more; what it printed may say why.\n"
        f"  {str(error).strip().partition(chr(10))[0]}\n"
        f"  {GOES_ON}"
    )


def _job(env: os._Environ[str] | dict[str, str]) -> str | None:
    array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else env.get("SLURM_JOB_ID")


def _otherwise(processes: Processes, config: TrainerConfig) -> str:
    """Says that there are other processes than the config asks for, with the commands that work."""
    devices, nodes, tasks = config.devices, config.num_nodes, processes.ranks // processes.nodes
    start = {
        "torchrun": f"torchrun --nnodes {nodes} --nproc-per-node {devices} train.py …",
        "SLURM": f"srun --nodes {nodes} --ntasks-per-node {devices} python train.py …, or cluster=slurm",
    }.get(processes.launcher, "python train.py …")
    return (
        f"{processes}, but trainer.devices={devices} trainer.num_nodes={nodes}.\n"
        f"  as it was launched:  trainer.devices={tasks} trainer.num_nodes={processes.nodes}\n"
        f"  as the config says:  {start}"
    )


def _refuse_from_here(config: TrainerConfig, swept: bool) -> None:
    if config.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={config.num_nodes} needs a launcher that reaches the other machines.\n"
            f"  with SLURM:  python train.py … cluster=slurm\n  on each machine:  torchrun --nnodes="
            f"{config.num_nodes} --nproc-per-node={config.devices} --rdzv-endpoint=HOST:29500 train.py …"
        )
    if config.devices > 1 and swept:
        raise ConfigError(
            f"trainer.devices={config.devices} in a sweep: its members run in this one process.\n"
            "  one device a member:      trainer.devices=1\n"
            "  a job for each member:    cluster=slurm"
        )


def _start(ranks: int) -> list[subprocess.Popen[bytes]]:
    """Starts ranks 1, 2, … of this machine with this process's command line; sets the address for all."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    _STORES.append(store)  # it serves as long as it lives
    variables = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        _PARENT: str(os.getpid()),
    }
    command = [sys.executable, *sys.orig_argv[1:]]
    return [
        subprocess.Popen(command, env={**os.environ, **variables, "RANK": str(n), "LOCAL_RANK": str(n)})
        for n in range(1, ranks)
    ]


_STORES: list[Any] = []


def _join(processes: Processes, cuda: bool) -> None:
    """Makes torch's process group: gloo for tensors on the CPU and objects, NCCL for those on GPUs."""
    settings: dict[str, Any] = {"backend": "gloo", "timeout": WAIT}
    if cuda:
        device = torch.device("cuda", processes.local)
        torch.cuda.set_device(device)
        settings |= {"backend": "cpu:gloo,cuda:nccl", "device_id": device}
    if processes.launcher == "SLURM":
        from lightning.pytorch.plugins.environments import SLURMEnvironment  # late: Lightning takes seconds

        # Lightning wants to see this where there are several tasks; `srun -n 2` does not set it.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(processes.ranks // processes.nodes))
        slurm = SLURMEnvironment(auto_requeue=False)
        settings["init_method"] = f"tcp://{slurm.main_address}:{slurm.main_port}"
    elif processes.launcher == "python":
        if processes.first:
            settings["store"] = _STORES[-1]
        else:
            address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            settings["store"] = dist.TCPStore(*address, is_master=False)
    dist.init_process_group(rank=processes.rank, world_size=processes.ranks, **settings)


class _Guard:
    """Notices when another process of this machine dies, so that the others do not wait for it for ever."""

    def __init__(self, others: list[subprocess.Popen[bytes]]) -> None:
        self.others = others
        self.parent = int(os.environ.get(_PARENT, "0"))
        self._done = threading.Event()
        if others or self.parent:
            threading.Thread(target=self._look, name="vxl-guard", daemon=True).start()

    def reason(self) -> str | None:
        """Which process is gone, if one is; waits a moment, since its end may be what was just felt."""
        until = time.monotonic() + 3
        while time.monotonic() < until and (self.others or self.parent):
            reason = self._found()
            if reason is not None:
                return reason
            time.sleep(0.1)
        return None

    def wait(self) -> None:
        """Waits until the others have ended, too.

        Raises:
            LostError: One of them failed.
        """
        for process in self.others:
            process.wait()
        reason = self._found()
        if reason is not None and not self.parent:
            raise LostError(reason)

    def close(self, patience: float) -> None:
        """Ends what still runs after some seconds."""
        self._done.set()
        for process in self.others:
            if process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
            if process.poll() is None:
                process.kill()
                process.wait()

    def _found(self) -> str | None:
        if self.parent and os.getppid() != self.parent:
            return "the first process of the run is gone."
        for rank, process in enumerate(self.others, 1):
            status = process.poll()
            if status and status not in _INTERRUPTED:
                how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
                return (
                    f"process {rank} of 0 to {len(self.others)} (pid {process.pid}) ended {how}.\n  {GOES_ON}"
                )
        return None

    def _look(self) -> None:
        while not self._done.wait(1.0):
            reason = self._found()
            if reason is None or self._done.wait(GRACE):
                continue
            say(f"\nerror: {reason}", error=True)
            for process in self.others:
                process.kill()
            os._exit(1)
