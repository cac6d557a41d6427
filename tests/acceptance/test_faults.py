"""What happens to runs left alone for weeks: each ends in a clean error, or goes on with equal numbers."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.forked import typed
from tests.acceptance.scripts import digest, last_step, numbers, result, start, with_clips

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COMMAND = [
    "trainer=cpu",
    "trainer.max_steps=24",
    "trainer.log_every=1",
    "trainer.val_every=0",
    "checkpoint.every=6",
    "data.batch=2",
    "data.held_out=4",
    "data.workers=1",
    "logger=csv",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run that nobody disturbs, on shards that lie beside it."""
    path = with_clips(tmp_path_factory.mktemp("faults"))
    (path / "shards").mkdir()
    for tar in (path / ".cache" / "vxl").rglob("*.tar"):
        shutil.copy(tar, path / "shards" / f"{tar.parent.name}-{tar.name}")
    assert list((path / "shards").iterdir())
    trained(path, "undisturbed")
    return path


def words(place: Path, name: str) -> list[str]:
    train = sorted(str(tar) for tar in (place / "shards").glob("*train*.tar"))
    return [*COMMAND, "data=shards", f"data.train=[{','.join(train)}]", f"name={name}"]


def trained(place: Path, name: str) -> str:
    """What a run says that nobody disturbs."""
    status, said = typed("train.py", *words(place, name), cwd=place)
    assert status == 0, said
    return said


def disturbed(place: Path, name: str, disturb: Callable[[int], object], status: int) -> str:
    """What a run says that is disturbed in training."""
    process = start("train.py", *words(place, name), cwd=place, start_new_session=True)
    end = time.monotonic() + 400
    while last_step(place / "runs" / name) < 7 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    disturb(process.pid)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said


def ends_as_undisturbed(place: Path, name: str) -> str:
    said = trained(place, name)
    run, other = place / "runs" / name, place / "runs" / "undisturbed"
    assert digest(run) == digest(other)
    assert numbers(run) == numbers(other)
    assert result(run) == result(other)
    return said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_signal_to_the_whole_group_saves_at_a_step_boundary(place: Path, number: signal.Signals) -> None:
    name = f"told-{number.name}"
    said = disturbed(place, name, lambda pid: os.killpg(pid, number), 128 + number)
    assert "stopped after step" in said
    assert "Traceback" not in said
    assert "goes on after step" in ends_as_undisturbed(place, name)


def test_a_data_worker_that_is_killed(place: Path) -> None:
    def kill(pid: int) -> None:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    said = disturbed(place, "worker", kill, 1)
    assert "a data worker is gone" in said
    assert "Traceback" not in said
    assert "goes on after step 6" in ends_as_undisturbed(place, "worker")


def test_shards_that_are_deleted_while_a_run_trains(place: Path) -> None:
    aside = place / "aside"
    said = disturbed(place, "shards", lambda pid: (place / "shards").rename(aside), 2)
    aside.rename(place / "shards")
    assert "is not there any more" in said
    assert "put it back" in said
    assert "Traceback" not in said
    assert "goes on after step" in ends_as_undisturbed(place, "shards")
