"""The entry scripts in processes that need not import torch first, which takes longer than most of them run.

`typed` forks each from one process that has imported what they need and done nothing else. What only a new
process can show (that a script starts, is killed, hears signals) is for `tests.acceptance.scripts.start`.
"""

import atexit
import functools
import importlib
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.strategies.pool import receive, send

ROOT = Path(__file__).parents[2]
SECONDS = 600


def typed(
    script: str, *words: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(exit status, output) of `python SCRIPT WORDS` in a folder."""
    environment = {**(environment or os.environ), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    with tempfile.NamedTemporaryFile("r") as screen:
        send(_process(), (script, words, str(cwd), environment, screen.name))
        status = receive(_process())
        assert isinstance(status, int), "the process that forks the others is gone"
        return status, screen.read()


@functools.cache
def _process() -> socket.socket:
    """To the process that forks the others; it ends with this one."""
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.forked", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "99"},
        cwd=ROOT,
    )
    theirs.close()
    atexit.register(process.kill)
    return ours


def _serve(calls: socket.socket) -> None:
    """Runs one script after the other, each in a process of its own."""
    while (call := receive(calls))[0]:
        child = os.fork()
        if child == 0:
            calls.close()
            _run(*call)
        send(calls, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _run(script: str, words: tuple[str, ...], cwd: str, environment: dict[str, str], screen: str) -> None:
    """Becomes `python SCRIPT WORDS`, and ends as it does."""
    file = os.open(screen, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(ROOT / script), *words]
    runpy.run_path(sys.argv[0], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    for name in ("lightning.pytorch", "transformers", "vxl.evaluate.run", "vxl.train.run"):
        importlib.import_module(name)  # what the scripts import

    _serve(socket.socket(fileno=int(sys.argv[1])))
