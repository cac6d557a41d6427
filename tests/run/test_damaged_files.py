"""Every file of a run directory removed, empty, cut, garbled and with a flipped byte.

Each time the run is started again, listed and opened for its weights. What happens is one of two things: it
works (what can be made anew is), or a message names the file and says what to do.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.failing_disk import failing_disk
from tests.train.quick_training import Config, Paths
from vxl.checkpoint.resume import newest_to_resume
from vxl.checkpoint.source import find_source
from vxl.checkpoint.step_folder import StepFolder, choose_step, point_to
from vxl.errors import LostError, VxlError
from vxl.option.rebuild import plain
from vxl.patience import pauses_of
from vxl.run.directory import RunDirectory
from vxl.run.find import list_runs
from vxl.run.metrics import MetricsFile

TENSORS = {
    "model": {"a": torch.arange(600.0).view(20, 30)},
    "optim": {"a": {"exp_avg": torch.ones(20, 30), "step": torch.tensor(2.0)}},
}
ROWS = "step,loss,val/loss\n1,3.5,\n2,3.25,3.0\n3,3.125,\n"
WORDS = ("rm ", "restore", "name=", "on_existing=", "checkpoint=", "choose", "expected")

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "garbled": lambda data: b"\x00\xff\x80garbage{[" * 40,
    "flipped at the start": lambda data: bytes([data[0] ^ 0x41]) + data[1:],
    "flipped in the middle": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x10]) + data[len(data) // 2 + 1 :]
    ),
    "flipped at the end": lambda data: data[:-1] + bytes([data[-1] ^ 0x80]),
}


def config_of(root: Path) -> Config:
    return Config(paths=Paths(runs=str(root)), name="first")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 3, with every file that a run can have."""
    root = tmp_path_factory.mktemp("whole")
    config = config_of(root)
    with RunDirectory.open(config, "model: fake\n") as directory:
        (directory.path / "metrics.csv").write_text(ROWS)
        for step in (2, 3):
            StepFolder.at(directory.checkpoints, step).write(TENSORS, {"step": step})
        for name in ("last", "best"):
            point_to(directory.checkpoints, name, StepFolder.at(directory.checkpoints, 3))
        (directory.path / "train.log").write_text("said\n")
        (directory.path / "wandb_id.txt").write_text("first-0123abcd\n")
    (directory.path / "FAILED.json").write_text(json.dumps({"error": "no frames", "type": "DataError"}))
    (directory.path / ".lock").write_text(json.dumps({"host": "nowhere", "pid": 1, "job": None}))
    (directory.path / ".lock").unlink()
    return directory.path


FILES = [
    *(
        "config.yaml",
        "resolved.yaml",
        "provenance.json",
        "metrics.csv",
        "train.log",
        "wandb_id.txt",
        "FAILED.json",
    ),
    *("checkpoints/last", "checkpoints/best"),
    *(f"checkpoints/step-000003/{name}" for name in (".metadata", "__0_0.distcp", "rest.pt", "sums.json")),
]


def start_again(run: Path) -> int:
    """What training does before its first step, and what it reads; the step that it goes on from."""
    config = config_of(run.parent)
    with RunDirectory.open(config, "model: fake\n") as directory:
        newest = newest_to_resume(directory.checkpoints)
        assert newest is not None
        assert choose_step(run) == newest
        MetricsFile(directory.metrics).cut(newest.step)
        assert newest.read_rest() == {"step": newest.step}
        into = {
            "model": {"a": torch.zeros(20, 30)},
            "optim": {"a": {"exp_avg": torch.zeros(20, 30), "step": torch.zeros(())}},
        }
        newest.read_into(into)
        assert torch.equal(into["model"]["a"], TENSORS["model"]["a"])
        assert torch.equal(into["optim"]["a"]["exp_avg"], TENSORS["optim"]["a"]["exp_avg"])
        return newest.step


def read_weights(run: Path) -> None:
    """What asking, evaluating and exporting read of it."""
    source = find_source(run, run.parent)
    assert source.step is not None
    tensors = source.step.model_tensors()
    assert torch.equal(tensors["a"].read(), TENSORS["model"]["a"])


def list_it(run: Path) -> None:
    """What `vxl runs` and `vxl compare` read."""
    (found,) = list_runs(run.parent)
    assert found.status in ("failed", "stopped", "finished", "new")
    assert isinstance(found.config, dict)
    assert isinstance(found.metrics, dict)
    _ = (found.steps, found.step, found.size, found.failure, found.result)


def works_or_says_what_to_do(call: Callable[[Path], object], run: Path, file: Path) -> bool:
    try:
        call(run)
    except VxlError as error:
        text = str(error)
        assert file.name in text or file.parent.name in text, text
        assert any(word in text for word in WORDS), text
        assert len(text.splitlines()) <= 8, text
        return False
    return True


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["removed", *DAMAGE])
def test_a_damaged_file(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, how: str
) -> None:
    run = tmp_path / "first"
    shutil.copytree(whole, run)
    path = run / file
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(DAMAGE[how](path.read_bytes()))
    list_it(run)
    asked = works_or_says_what_to_do(read_weights, run, path)
    if file == "resolved.yaml":
        works_or_says_what_to_do(start_again, run, path)
    elif not file.startswith("checkpoints/step"):
        assert asked
        assert start_again(run) == 3
    else:
        falls_back(run, file, caplog)


def falls_back(run: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on from the checkpoint before, says so, and keeps the damaged one."""
    step = start_again(run)
    if step == 3:  # a byte that says nothing, or sums.json: all that was read is as it was written
        assert not file.endswith(".metadata")
        return
    assert step == 2
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "step-000003" in said
    assert f"goes on from the checkpoint of step 2; the damaged one is kept in {run}/checkpoints/dam" in said
    assert len(said.splitlines()) == 2
    assert (run / "checkpoints/damaged-step-000003").is_dir()
    assert start_again(run) == 2
    StepFolder.at(run / "checkpoints", 3).write(TENSORS, {"step": 3})  # trained again
    assert start_again(run) == 3


@pytest.mark.parametrize("place", range(0, 100, 9))
def test_no_flipped_byte_of_the_tensors_is_trained_on(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    run = tmp_path / "first"
    shutil.copytree(whole, run)
    path = run / "checkpoints/step-000003/__0_0.distcp"
    data = bytearray(path.read_bytes())
    data[place * len(data) // 100] ^= 1
    path.write_bytes(bytes(data))
    works_or_says_what_to_do(read_weights, run, path)  # asserts that what is read is what was written
    falls_back(run, "__0_0.distcp", caplog)


def test_zeros_in_the_tensors(whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "first"
    shutil.copytree(whole, run)
    path = run / "checkpoints/step-000003/__0_0.distcp"
    data = path.read_bytes()
    start = data.index(TENSORS["model"]["a"].numpy().tobytes())
    path.write_bytes(data[: start + 100] + bytes(400) + data[start + 500 :])
    assert not works_or_says_what_to_do(read_weights, run, path)
    falls_back(run, "", caplog)


def test_damage_of_the_only_checkpoint_ends_the_run(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints/step-000002")
    path = run / "checkpoints/step-000003/rest.pt"
    path.write_bytes(path.read_bytes()[:100])
    for _ in range(2):
        assert not works_or_says_what_to_do(start_again, run, path)


def test_two_damaged_checkpoints_are_passed_over(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(whole, run)
    StepFolder.at(run / "checkpoints", 4).write(TENSORS, {"step": 4})
    (run / "checkpoints/step-000004/__0_0.distcp").unlink()
    (run / "checkpoints/step-000003/.metadata").unlink()
    assert start_again(run) == 2


def test_a_fault_of_the_disk_is_no_damage(whole: Path, tmp_path: Path) -> None:
    """It is waited for: no checkpoint is set aside for it."""
    run = tmp_path / "first"
    shutil.copytree(whole, run)
    checkpoints = run / "checkpoints"
    with pauses_of(0.0), failing_disk(checkpoints / "step-000003", 0.4) as disk:
        newest = newest_to_resume(checkpoints)
    assert newest is not None
    assert (newest.step, disk.failures > 3) == (3, True)
    with (
        pauses_of(0.01, limit=0.03),
        failing_disk(checkpoints / "step-000003", 1.0),
        pytest.raises(LostError),
    ):
        newest_to_resume(checkpoints)
    assert (checkpoints / "step-000003").is_dir()


def test_a_checkpoint_of_an_earlier_release_has_no_sums_and_loads(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(whole, run)
    (run / "checkpoints/step-000003/sums.json").unlink()
    start_again(run)


def test_a_run_that_was_stopped_at_once_begins(tmp_path: Path) -> None:
    """Whatever a kill in the first moments leaves."""
    run = tmp_path / "first"
    (run / "checkpoints").mkdir(parents=True)
    (run / ".lock").write_text("")
    (run / ".config.yaml.0123abcd.part").write_text("mod")
    (run / "resolved.yaml").write_text(yaml.safe_dump(plain(config_of(tmp_path))))
    with RunDirectory.open(config_of(tmp_path), "model: fake\n") as directory:
        assert directory.status == "new"
    assert not list(run.glob("*.part"))
    assert re.fullmatch(r"-rw-------", oct_mode(run / "provenance.json"))


def oct_mode(file: Path) -> str:
    import stat

    return stat.filemode(file.stat().st_mode)
