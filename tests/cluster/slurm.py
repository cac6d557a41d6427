"""A SLURM of our own on this machine, for tests: real daemons, everything in one temporary folder.

Nothing is installed (on Debian: `apt-get install -y --no-install-recommends slurm-wlm munge`), and nothing
outside the folder is read or written: SLURM_CONF points into it, munge has a key and a socket of its own, and
the ports are free ones. So a cluster that this machine belongs to is never touched.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"


class Slurm:
    """A running one-node cluster.

    Args:
        folder: Where its configuration, state and logs are; short, for the sake of its socket's path.
        cpus: Tasks that may run at once (more than the machine has is fine).
    """

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        self.folder = folder
        self.cpus = cpus
        self.environment = {**_clean(os.environ), "SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        """Starts munged, slurmctld and slurmd and waits until the node is idle."""
        missing = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
        if missing:
            raise RuntimeError(
                f"SLURM is not installed here: {', '.join(missing)} not found.\n"
                "  on Debian:  apt-get install -y --no-install-recommends slurm-wlm munge"
            )
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir(mode=0o755)
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "munge.key").chmod(0o400)
        (self.folder / "slurm.conf").write_text(self._conf())
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        (self.folder / "plugstack.conf").write_text("")
        munge = [f"--socket={self._socket}", f"--key-file={self.folder / 'munge.key'}"]
        munge += [f"--{name}-file={self.folder / 'munge' / name}" for name in ("pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", "--num-threads=2", *munge)
        _until(self._socket.exists, 20, "munged's socket")
        self._start("slurmctld", "-D", "-i")
        self._start("slurmd", "-D")
        _until(lambda: "idle" in self("sinfo", "-h", "-o", "%T", check=False), 60, "an idle node", self._logs)

    def down(self) -> None:
        """Cancels what runs and stops the daemons."""
        self("scancel", "--full", "--signal=KILL", "--user", getpass.getuser(), check=False)
        self("scancel", "--user", getpass.getuser(), check=False)
        with contextlib.suppress(TimeoutError):
            _until(lambda: not self.jobs(), 20, "the end of all jobs")
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(15)
        self._daemons.clear()

    def __call__(self, *command: str, check: bool = True, timeout: float = 60) -> str:
        """What a command of SLURM (or any other) prints in this cluster."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """The state of every job that is not over: {"7_0": "RUNNING"}."""
        lines = self("squeue", "-h", "-r", "-o", "%i %T", check=False).splitlines()
        return dict(line.split() for line in lines)

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says about one job."""
        words = self("scontrol", "-o", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, seconds: float = 120) -> None:
        """Waits until no job is left."""
        _until(lambda: not self.jobs(), seconds, "the end of all jobs", lambda: str(self.jobs()))

    @property
    def _socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _start(self, name: str, *arguments: str) -> None:
        command = [str(shutil.which(name, path=PATH)), *arguments]
        with (self.folder / f"{name}.out").open("wb") as out:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _logs(self) -> str:
        files = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        return "\n".join(f"--- {file.name}\n{file.read_text()[-2000:]}" for file in files)

    def _conf(self) -> str:
        # A requeued job starts cred_expire seconds later: 5, not 120. Then a message that killed its step may
        # not be sent again for want of an answer within 10 seconds: it would kill the next start's step.
        host, user, folder = socket.gethostname().partition(".")[0], getpass.getuser(), self.folder
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 8 // 10
        controller, node = _free_ports(2)
        return f"""\
ClusterName=vxltest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={self._socket},cred_expire=5
CredType=cred/munge
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
PlugStackConfig={folder}/plugstack.conf
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=500000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
MessageTimeout=60
MinJobAge=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={self.cpus} RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


@contextlib.contextmanager
def cluster(folder: Path, cpus: int = 4) -> Iterator[Slurm]:
    """A cluster that is up, and down again at the end."""
    slurm = Slurm(folder, cpus)
    try:
        slurm.up()
        yield slurm
    finally:
        slurm.down()


def _clean(environment: "os._Environ[str]") -> dict[str, str]:
    """An environment without traces of a cluster that this process may run in."""
    return {k: v for k, v in environment.items() if not k.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def _until(
    true: Callable[[], object], seconds: float, what: str, why: Callable[[], str] = lambda: ""
) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}\n{why()}")
        time.sleep(0.2)
