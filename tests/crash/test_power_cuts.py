"""Power cuts, in the manner of databases: a training's disk is copied at random moments, mounted and resumed.

`make test-crash` writes the log into experiments/052_power_cuts. Whatever was in the memory of the
system and not on its way to the disk is lost, as it is when the power goes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.crash import disk
from tests.run.test_changes import changed
from tests.train import quick_training as fake
from tests.train.quick_training import Config, Paths
from tests.train.test_run import digest, numbers
from vxl.checkpoint.step_folder import step_folders

CUTS = int(os.environ.get("VXL_CUTS", "50"))
ROUNDS = 5
STEPS = 60
# A training of this model would be over before it could be cut in many places.
SLOWER = 0.1

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]


def config_of(runs: Path, background: bool) -> Config:
    """A training that saves often, each save with its metrics."""
    config = Config(paths=Paths(runs=str(runs)), name="first")
    return changed(
        config,
        trainer={"max_steps": STEPS, "val_every": 5},
        checkpoint={"every": 2, "background": background},
    )


def begin(runs: Path, background: bool) -> subprocess.Popen[bytes]:
    """Trains in a process of its own."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.crash.test_power_cuts import config_of, fake, SLOWER\n"
        "made = fake.batch\n"
        "fake.batch = lambda *a: (time.sleep(SLOWER), made(*a))[1]\n"
        "fake.train(config_of(Path(sys.argv[1]), sys.argv[2] == 'True'))\n"
    )
    command = [sys.executable, "-c", code, str(runs), str(background)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cuts_of_one_training(folder: Path, number: int, count: int, rng: random.Random) -> list[Path]:
    """Images of the disk at random moments of one training, while the trainer stands still."""
    image = folder / f"disk-{number}.img"
    disk.make(image)
    found: list[Path] = []
    with disk.mounted(image, folder / "mnt") as place:
        process = begin(place, background=number % 2 == 1)
        while not (place / "first").exists():
            time.sleep(0.01)
        while process.poll() is None and len(found) < count:
            time.sleep(rng.uniform(0.05, 2.5 * STEPS * SLOWER / count))
            process.send_signal(signal.SIGSTOP)
            found.append(folder / f"cut-{number}-{len(found)}.img")
            disk.cut(image, found[-1])
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
    image.unlink()
    return found


def resumed(cut: Path, folder: Path, background: bool) -> tuple[Config, dict[str, Any]]:
    """Goes on after a cut; says what there was."""
    runs = folder / cut.stem
    with disk.mounted(cut, folder / "mnt") as place:
        shutil.copytree(place, runs, ignore=shutil.ignore_patterns("lost+found"))
    cut.unlink()
    run = runs / "first"
    steps = [found.step for found in step_folders(run)]
    metrics = run / "metrics.csv"
    there = {
        "cut": cut.stem,
        "background": background,
        "files": sum(file.is_file() for file in run.rglob("*")) if run.exists() else 0,
        "rows": max(0, metrics.read_bytes().count(b"\n") - 1) if metrics.exists() else 0,
        "checkpoint": max(steps, default=None),
        "result": (run / "RESULT.json").exists(),
    }
    config = config_of(runs, background)
    fake.train(config)
    return config, there


def test_power_cuts(tmp_path: Path) -> None:
    reason = disk.why_not()
    if reason is not None:
        pytest.skip(reason)
    seed = int(os.environ.get("VXL_SEED", "0"))
    rng = random.Random(seed)
    undisturbed = config_of(tmp_path / "undisturbed", background=False)
    fake.train(undisturbed)
    right, rows = digest(undisturbed), numbers(undisturbed)
    log: list[dict[str, Any]] = []
    number = 0
    while len(log) < CUTS:
        for cut in cuts_of_one_training(tmp_path, number, min(max(1, CUTS // ROUNDS), CUTS - len(log)), rng):
            config, there = resumed(cut, tmp_path, background=number % 2 == 1)
            there |= {"same_weights": digest(config) == right, "same_metrics": numbers(config) == rows}
            log.append(there)
            print(json.dumps(there), flush=True)
            shutil.rmtree(tmp_path / cut.stem)
        number += 1
    if target := os.environ.get("VXL_CRASH"):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(json.dumps({"seed": seed, "steps": STEPS, "cuts": log}, indent=1) + "\n")
    assert all(there["same_weights"] and there["same_metrics"] for there in log)
    assert len({there["checkpoint"] for there in log}) > min(5, CUTS // 3)  # cuts were in different places
