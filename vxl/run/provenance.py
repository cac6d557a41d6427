"""Where a run's numbers come from: code, packages, hardware and command, once for every start of the run."""

import contextlib
import functools
import importlib.metadata
import json
import logging
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vxl.atomic import write_text

log = logging.getLogger(__name__)

FILE = "provenance.json"
_LONGEST_DIFF = 2_000_000


def record(directory: Path, changes: list[dict[str, Any]]) -> None:
    """Adds this start of the run to `provenance.json`.

    Args:
        directory: The run directory.
        changes: Resumable keys with other values than before: {"key", "old", "new"}.
    """
    sessions = read_sessions(directory)
    now = this_session(changes)
    if sessions and sessions[0].get("git") == now["git"]:
        now["git"] = "as in the first session"
    if sessions and sessions[0].get("packages") == now["packages"]:
        now["packages"] = "as in the first session"
    # The command line and uncommitted changes may hold a secret: the file is its owner's alone.
    write_text(directory / FILE, json.dumps({"sessions": [*sessions, now]}, indent=1) + "\n", mode=0o600)


def read_sessions(directory: Path) -> list[dict[str, Any]]:
    """The recorded starts of a run, oldest first; none where the file is damaged, which is set aside."""
    file = directory / FILE
    if not file.exists():
        return []
    try:
        sessions = json.loads(file.read_text()).get("sessions", [])
        if all(isinstance(session, dict) for session in sessions):
            return sessions
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    aside = file.with_name(f"{FILE}.damaged")
    log.warning("%s is damaged: it goes on as a new one, the old one is %s", file, aside.name)
    with contextlib.suppress(OSError):
        file.replace(aside)
    return []


def this_session(changes: list[dict[str, Any]]) -> dict[str, Any]:
    """This process: when, where, what was typed, and with which code."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join([sys.executable, *sys.argv]),
        "folder": str(Path.cwd()),
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "changes": changes,
        "hardware": hardware(),
        "python": platform.python_version(),
        "git": _loaded_code(),
        "packages": packages(),
    }


@functools.cache  # three processes, for every run of a sweep; what is loaded changes no more
def _loaded_code() -> dict[str, Any] | None:
    return git(Path(__file__).parents[2])


def git(folder: Path) -> dict[str, Any] | None:
    """Commit, uncommitted changes and untracked files of vxl's source, or None outside its own."""
    commit = commit_of(folder)
    if commit is None:
        return None
    diff = _git(folder, "diff", "HEAD") or ""
    if len(diff) > _LONGEST_DIFF:
        diff = diff[:_LONGEST_DIFF] + f"\n… cut at {_LONGEST_DIFF} of {len(diff)} characters"
    untracked = _git(folder, "ls-files", "--others", "--exclude-standard") or ""
    return {"commit": commit, "diff": diff, "untracked": untracked.splitlines()[:200]}


def commit_of(folder: Path) -> str | None:
    """The commit of vxl's source, or None outside its own repository."""
    if not (folder / ".git").exists():  # an installed vxl may lie in another one's
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    return None if commit is None else commit.strip()


@functools.cache  # a hundred files to parse, for every run of a sweep
def packages() -> dict[str, str]:
    """Every installed distribution with its version."""
    described = [distribution.metadata for distribution in importlib.metadata.distributions()]
    version_by_name = {metadata["Name"]: metadata["Version"] for metadata in described if metadata["Name"]}
    return dict(sorted(version_by_name.items(), key=lambda item: item[0].lower()))


def hardware() -> dict[str, Any]:
    """Processor, memory and GPUs of this machine."""
    import torch  # late: torch takes 2 s, and `vxl runs` needs none of it

    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [],
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        facts["cuda"] = torch.version.cuda
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout
