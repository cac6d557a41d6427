"""Starting the entry scripts as a user does, and what a run left behind."""

import atexit
import csv
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from vxl.checkpoint.step_folder import choose_step

ROOT = Path(__file__).parents[2]
# What a clock or the machine measures; everything else in metrics.csv is a function of the config.
MEASURED = {"tokens_per_s", "frames_per_s", "samples_per_s", "data_wait", "peak_memory_bytes"}
MEASURED |= {"total/seconds", "total/device_hours"}


@functools.cache
def _prepared() -> Path:
    """A cache with the embedded clips, made once for all tests that start runs on them."""
    from vxl.config.compose import compose
    from vxl.train.step.data_module import DataModule

    folder = Path(tempfile.mkdtemp(prefix="vxl-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    DataModule(compose("train", ["trainer=cpu", "logger=csv", f"paths.cache={folder}"])).prepare_data()
    return folder


def with_clips(place: Path) -> Path:
    """A working directory, after giving it a cache that holds the embedded clips."""
    (place / ".cache").mkdir()
    (place / ".cache" / "vxl").symlink_to(_prepared())
    return place


def start(
    script: str,
    *words: str,
    cwd: Path,
    environment: dict[str, str] | None = None,
    launcher: Sequence[str] = (),
    **settings,
) -> subprocess.Popen:
    """`python SCRIPT WORDS`, or `python LAUNCHER SCRIPT WORDS`, in a folder."""
    environment = {**(environment or os.environ), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.Popen(
        [sys.executable, *launcher, str(ROOT / script), *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **settings,
    )


def digest(run: Path) -> str:
    """sha256 of every tensor in a run's last checkpoint, the optimizer's too."""
    folder = choose_step(run, "last")
    tensors = {name: torch.empty(like.shape, dtype=like.dtype) for name, like in folder.outline().items()}
    folder.read_into(tensors)
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {list(tensor.shape)} {tensor.dtype} ".encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def numbers(run: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without what was measured."""
    with (run / "metrics.csv").open(newline="") as lines:
        return [{k: v for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(lines)]


def result(run: Path) -> dict:
    """RESULT.json without what was measured, and without the run's name."""
    values = json.loads((run / "RESULT.json").read_text())
    return {key: value for key, value in values.items() if key not in ("name", "directory", "seconds")}


def last_step(run: Path) -> int:
    """The latest step in metrics.csv, -1 without any."""
    try:
        steps = [line.partition(",")[0] for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    except FileNotFoundError:
        return -1
    return max((int(step) for step in steps if step.isdigit()), default=-1)
