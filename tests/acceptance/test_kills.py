"""A run that is killed, again and again, ends with the weights of an undisturbed one."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.forked import typed
from tests.acceptance.scripts import digest, last_step, numbers, result, start, with_clips

STEPS = 40
COMMAND = [
    "model=tiny",
    "trainer=cpu",
    "trainer.log_every=1",
    "trainer.val_every=20",
    "checkpoint.every=2",
    "data.batch=4",
    "data.held_out=4",
    "logger=csv",
]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder whose cache already holds the prepared clips."""
    return with_clips(tmp_path_factory.mktemp("kills"))


def words_of(workers: int, steps: int, name: str) -> list[str]:
    """What is typed behind `python train.py`."""
    return [*COMMAND, f"trainer.max_steps={steps}", f"data.workers={workers}", f"name={name}"]


def undisturbed(place: Path, workers: int, steps: int = STEPS) -> Path:
    """The run that nobody touches."""
    run = place / "runs" / f"undisturbed-{workers}-{steps}"
    if not (run / "RESULT.json").exists():
        status, said = typed("train.py", *words_of(workers, steps, run.name), cwd=place)
        assert status == 0, said
    return run


def kill(place: Path, words: list[str], run: Path, chance: random.Random, most: int) -> str:
    """Starts the run and kills it, one time in four while it sets out, else up to `most` steps later."""
    before = last_step(run)
    process = start("train.py", *words, cwd=place)
    began = time.monotonic()
    try:
        if chance.random() < 0.25:
            time.sleep(chance.uniform(0.5, 8))
        else:
            wanted = before + chance.randint(1, most)
            while process.poll() is None and last_step(run) < wanted and time.monotonic() - began < 300:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.4))
        early = process.poll()
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        said, _ = process.communicate(timeout=60)
    assert early in (None, 0), said  # it ends by itself only when it is done
    halves = [path.name for path in (run / "checkpoints").glob(".step-*.part")]
    return (
        f"after {time.monotonic() - began:5.1f} s at step {last_step(run):2d}"
        f"{', a checkpoint half written' if halves else ''}{', already finished' if early == 0 else ''}"
    )


def killed_ends_as_undisturbed(place: Path, workers: int, kills: int, seed: int, steps: int = STEPS) -> None:
    chance = random.Random(seed)
    run = place / "runs" / f"killed-{workers}-{kills}"
    words = words_of(workers, steps, run.name)
    most = steps // kills  # so that the last kill, too, meets a run that is at work
    print(f"\ndata.workers={workers}, seed {seed}, {kills} kills of {steps} steps")
    for number in range(1, kills + 1):
        print(f"  kill {number:2d} {kill(place, words, run, chance, most)}", flush=True)
    process = start("train.py", *words, cwd=place)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    reference = undisturbed(place, workers, steps)
    print(f"  killed      {digest(run)}\n  undisturbed {digest(reference)}", flush=True)
    assert digest(run) == digest(reference)
    assert numbers(run) == numbers(reference)
    assert result(run) == result(reference)
    assert not list((run / "checkpoints").glob(".*"))
    assert not (run / ".lock").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [0, 2])
def test_three_random_kills(place, workers):
    seed = int(os.environ.get("VXL_KILL_SEED", random.SystemRandom().randrange(10**6)))
    killed_ends_as_undisturbed(place, workers, 3, seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_number_of_workers_changes_nothing(place):
    assert digest(undisturbed(place, 0)) == digest(undisturbed(place, 2))
    assert numbers(undisturbed(place, 0)) == numbers(undisturbed(place, 2))


@pytest.mark.kills
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_random_kills(place, workers):
    killed_ends_as_undisturbed(place, workers, 20, seed=workers, steps=80)
