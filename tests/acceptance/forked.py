"""The entry scripts in processes that need not import torch first, which takes longer than most of them run.

`typed` forks each from one process that has imported what they need and done nothing else: no thread, no
config, no random number. It has arguments, environment, folder, exit status and output of its own, as one
that a shell starts; what it imports, it finds imported. So what only a new process can show (that a command
starts by its own imports, is killed, hears signals) is for `tests.acceptance.scripts.start`.
"""

import atexit
import functools
import gc
import importlib
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.strategies.pool import receive, send
from vxl.terminal.begin import UNHEARD

ROOT = Path(__file__).parents[2]
SECONDS = 900
# What the commands import, and what that imports once it is called.
IMPORTED = [
    *("lightning.pytorch", "transformers", "vxl.evaluate.run", "vxl.train.run", "vxl.cli.ask"),
    *("vxl.train.step.module", "vxl.train.step.data_module", "vxl.train.preview", "vxl.compare.page"),
    *("hydra._internal.hydra", "hydra.core.override_parser.overrides_parser", "omegaconf.grammar_parser"),
    *("torch.distributed.checkpoint", "torch.distributed.fsdp", "transformers.modeling_utils"),
    *("transformers.generation", "transformers.models.qwen2.modeling_qwen2", "accelerate"),
]


def typed(
    script: str, *words: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(exit status, output) of a script of this checkout, or of "vxl", with words behind it, in a folder."""
    return python([*behind_python(script), *words], cwd=cwd, environment=environment)


def behind_python(script: str) -> list[str]:
    """What stands behind `python` to start a script of this checkout, or "vxl"."""
    return ["-m", "vxl.cli"] if script == "vxl" else [str(ROOT / script)]


def python(
    words: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """(exit status, output) of `python WORDS` in a folder; the words begin with a file, or `-m MODULE`."""
    environment = {**(environment or os.environ), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    with tempfile.NamedTemporaryFile("r") as screen:
        send(_process(), (list(words), str(cwd), environment, screen.name))
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
        env=os.environ | UNHEARD | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()
    atexit.register(process.kill)
    return ours


def _serve(calls: socket.socket) -> None:
    """Runs one command after the other, each in a process of its own."""
    while isinstance((call := receive(calls))[0], list):
        child = os.fork()
        if child == 0:
            calls.close()
            _run(*call)
        send(calls, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _run(words: list[str], cwd: str, environment: dict[str, str], screen: str) -> None:
    """Becomes `python WORDS`, and ends as it does."""
    file = os.open(screen, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.orig_argv = [sys.executable, *words]  # what ranks are started by
    more = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    if words[0] == "-m":
        sys.path[:2] = [cwd, *more]
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[:2] = [str(Path(words[0]).parent), *more]
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
    sys.exit()


def main() -> None:
    """Imports, and serves."""
    assert sys.path[:2] == [str(ROOT), str(ROOT)], "python -m and PYTHONPATH, which a command has of its own"
    for name in IMPORTED:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads can't be forked whole"
    gc.freeze()  # as in tests/conftest.py
    _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
