"""One owner of a run directory at a time: a lock file that names it."""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

from vxl.errors import ConfigError


class Lock:
    """The file `.lock` in a run directory: host, process and job of the owner.

    A lock is stale when its process is gone from this machine (a process id that came back is distinguished
    by its start time), or when it is this SLURM job's own from before a requeue. An owner on another machine
    counts as alive, since that can't be known from here.

    Process ids say nothing in another container of the same host name. So the owner also holds, as long as it
    lives, a lock of the operating system on `.lock.held` (POSIX record locks: seen from other containers and,
    over NFS, from other nodes; not inherited by data workers, which may live a little longer than a trainer
    that was killed).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = False
        self._life: int | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            ConfigError: Another process has it; the message names the owner.
        """
        with self._file() as file:
            owner = _read_owner(file)
            if owner and not _is_stale(owner) and not _is_me(owner):
                raise ConfigError(
                    f"{self.path.parent} is in use by {_words_for(owner)}.\n"
                    f"  wait for it, or choose another name:  name=NAME\n"
                    f"  if you know that process to be gone:  rm {self.path}"
                )
            if not self._hold():
                raise ConfigError(
                    f"{self.path.parent} is in use by another process, in another container or on another "
                    f"node: {_words_for(owner)}.\n"
                    "  wait for it, or choose another name:  name=NAME"
                )
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(_me()).encode(), 0)
            os.fsync(file)
        self.held = True

    @property
    def stands(self) -> bool:
        """Whether the lock that was taken is still at its path: not where the folder was removed or moved."""
        try:
            with self.path.open("rb") as file:
                return _is_me(_read_owner(file.fileno()))
        except OSError:
            return False

    def release(self) -> None:
        """Gives the lock back; another owner's is left alone."""
        if not self.held:
            return
        self.held = False
        if self._life is not None:
            os.close(self._life)
            self._life = None
        with contextlib.suppress(OSError), self._file() as file:
            if _is_me(_read_owner(file)):
                self.path.unlink()
                _life_of(self.path).unlink(missing_ok=True)

    def _hold(self) -> bool:
        """Takes the lock that ends with this process; False where another process has it."""
        if self._life is not None:
            return True
        descriptor = os.open(_life_of(self.path), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                return False
            # a file system without locks: the names in `.lock` have to do
        self._life = descriptor
        return True

    @contextlib.contextmanager
    def _file(self) -> Generator[int]:
        """The lock file, ours alone while it is read and written: two can't both take a stale one."""
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                with contextlib.suppress(OSError):  # file systems without flock: the window is milliseconds
                    fcntl.flock(file, fcntl.LOCK_EX)
                if _same_file(file, self.path):
                    yield file
                    return
            finally:
                os.close(file)


def is_held(path: Path) -> bool:
    """Whether the owner that a lock file names may still be at work."""
    try:
        owner = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(owner, dict) and not _is_stale(owner)


def _life_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.held")


def _same_file(file: int, path: Path) -> bool:
    """Whether an open file is still the one at `path` (its owner may have removed it while we waited)."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _read_owner(file: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(file, 4096, 0))
    except (ValueError, RecursionError):
        return {}  # empty: new, or its owner was killed while it wrote
    return owner if isinstance(owner, dict) else {}


def _is_me(owner: dict[str, Any]) -> bool:
    return owner == _me()


def _is_stale(owner: dict[str, Any]) -> bool:
    me = _me()
    if owner.get("job") and owner["job"] == me["job"]:
        return (owner.get("host"), owner.get("pid")) != (me["host"], me["pid"]) and not _lives_here(owner)
    return owner.get("host") == me["host"] and not _lives_here(owner)


def _lives_here(owner: dict[str, Any]) -> bool:
    """Whether the owner is a process of this machine that still runs."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return owner.get("started") in (None, _start_of(pid))


def _start_of(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where /proc does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _words_for(owner: dict[str, Any]) -> str:
    job = f", SLURM job {owner['job']}" if owner.get("job") else ""
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}{job}"
