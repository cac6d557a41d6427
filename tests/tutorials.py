"""A tutorial as its reader meets it: files that it shows are written, and what it says to type is typed."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.acceptance import forked
from tests.acceptance.forked import ROOT, behind_python
from tests.test_readme import commands

QUICK = ["logger=csv", "trainer.max_steps=2", "trainer.val_every=0", "data.workers=0", "trainer=cpu"]
CLIPS = ["data.drawn=2", "data.held_out=4"]


def write_files(page: Path, folder: Path) -> list[str]:
    """Writes the blocks of a page that have a title, and returns their names."""
    blocks = re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', page.read_text(), re.S)
    for name, text in blocks:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [name for name, _ in blocks]


def typed(page: Path, *leave_out: str) -> list[tuple[str, bool]]:
    """(a command of a page, whether its comment says that it is refused), without `export`."""
    refused = re.findall(r"^(.*?)  +# refused", page.read_text(), re.M)
    lines = [line for line in commands(page) if not line.startswith(("export ", *leave_out))]
    return [(line, line in refused) for line in lines]


def in_short(command: str) -> list[str]:
    """A command's words for `python`, with fewer steps and questions than its reader has patience for."""
    words = shlex.split(command)
    name = {"train.py": "train", "evaluate.py": "evaluate"}.get(words[1], words[1])
    rest = words[2:]
    if name == "train" and "dry_run=true" not in rest:
        rest += QUICK if any(word.startswith("data=") for word in rest) else [*QUICK, *CLIPS]
    if name == "evaluate" and not any(word.startswith(("limit=", "benchmark=json")) for word in rest):
        rest += ["limit=4"]
    return [*behind_python(words[1]), *rest] if words[0] == "python" else [*behind_python("vxl"), name, *rest]


BEGUN: set[str] = set()
"""The commands of which one was a new process."""


def follow(
    lines: Sequence[tuple[str, bool]], folder: Path, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Types the commands one after the other; what each printed.

    The first of each name is a process that imports what it needs by itself, as a reader's does.
    """
    settings = {**(environment or os.environ), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    settings["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    said = {}
    for command, refused in lines:
        name = " ".join(shlex.split(command)[:2])
        carry_out = forked.python if name in BEGUN else _new_process
        status, said[command] = carry_out(in_short(command), cwd=folder, environment=settings)
        BEGUN.add(name)
        assert status == (2 if refused else 0), f"{command}\n{said[command]}"
        assert "Traceback" not in said[command], said[command]
    return said


def _new_process(words: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """(exit status, output) of `python WORDS`."""
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    return done.returncode, done.stdout + done.stderr
