import errno
import os
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystem

from vxl import atomic
from vxl.checkpoint.resume import newest_to_resume
from vxl.checkpoint.step_folder import StepFolder, point_to, step_folders
from vxl.errors import CheckpointError

TENSORS = {"model": {"a": torch.arange(6.0).view(2, 3)}, "optim": {"a": {"step": torch.tensor(2.0)}}}


@pytest.fixture
def parent(tmp_path):
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


def written(parent, step):
    folder = StepFolder.at(parent, step)
    folder.write(TENSORS, {"step": step})
    point_to(parent, "last", folder)
    return folder


def test_what_is_written_is_read(parent):
    folder = written(parent, 3)
    assert folder.path.name == "step-000003"
    wanted = {"model": {"a": torch.zeros(2, 3)}, "optim": {"a": {"step": torch.zeros(())}}}
    folder.read_into(wanted)
    assert torch.equal(wanted["model"]["a"], TENSORS["model"]["a"])
    assert wanted["optim"]["a"]["step"] == 2
    assert folder.read_rest() == {"step": 3}
    assert {name: tuple(like.shape) for name, like in folder.outline().items()} == {
        "model.a": (2, 3),
        "optim.a.step": (),
    }


def test_a_folder_is_never_overwritten(parent):
    folder = written(parent, 3)
    before = {file: file.stat().st_mtime_ns for file in folder.path.iterdir()}
    folder.write({"model": {"a": torch.ones(9)}}, {"step": 4})
    assert {file: file.stat().st_mtime_ns for file in folder.path.iterdir()} == before


def fails_at(monkeypatch, place, number):
    """Makes one of the places where a checkpoint touches the disk fail."""

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    if place == "tensors":
        stream = FileSystem.create_stream
        monkeypatch.setattr(
            FileSystem,
            "create_stream",
            lambda self, path, mode: fail() if mode == "wb" else stream(self, path, mode),
        )
    elif place == "metadata":
        stream = FileSystem.create_stream
        monkeypatch.setattr(
            FileSystem,
            "create_stream",
            lambda self, path, mode: fail() if "metadata" in str(path) else stream(self, path, mode),
        )
    elif place == "rest":
        save = torch.save
        monkeypatch.setattr(
            torch, "save", lambda rest, file: fail() if isinstance(rest, dict) else save(rest, file)
        )
    elif place == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif place == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fail)
    elif place == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    elif place == "last":
        monkeypatch.setattr(Path, "replace", fail)


def test_a_disk_that_fails_at_the_first_checkpoint(parent, monkeypatch):
    fails_at(monkeypatch, "tensors", errno.ENOSPC)
    with pytest.raises(CheckpointError, match="there was none before; then the same command begins anew"):
        written(parent, 3)


PLACES = ["tensors", "metadata", "rest", "fsync", "mkdir", "rename", "last"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("number", "why"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the file system is read-only")]
)
def test_a_disk_that_fails_costs_no_earlier_checkpoint(parent, monkeypatch, place, number, why):
    written(parent, 3)
    with monkeypatch.context() as patch:
        fails_at(patch, place, number)
        with pytest.raises(CheckpointError) as error:
            written(parent, 6)
    text = str(error.value)
    assert text.startswith(f"the checkpoint {parent}/step-000006 can't be written: {why}.")
    assert "the checkpoint of step 3 is whole; then the same command goes on from there." in text
    assert len(text.splitlines()) <= 5
    newest = newest_to_resume(parent)
    assert newest is not None
    assert newest.step == (6 if place == "last" else 3)  # complete, only not pointed to yet
    assert newest.read_rest() == {"step": newest.step}
    assert [path.name for path in parent.iterdir() if path.name.startswith(".")] == []


def test_the_first_checkpoint_failing_says_that_there_was_none(parent, monkeypatch):
    fails_at(monkeypatch, "tensors", errno.ENOSPC)
    with pytest.raises(CheckpointError, match="there was none before"):
        written(parent, 3)


def test_other_errors_are_not_hidden(parent):
    with pytest.raises(Exception, match="pickle") as error:
        StepFolder.at(parent, 1).write(TENSORS, {"x": lambda: 0})
    assert not isinstance(error.value, CheckpointError)
    assert step_folders(parent.parent) == []


def test_tidying_removes_what_a_kill_left(parent):
    written(parent, 3)
    (parent / ".step-000006.01234567.part").mkdir()
    (parent / ".step-000006.01234567.part" / "__0_0.distcp").write_text("half")
    (parent / ".step-000001.01234567.part").mkdir()
    (parent / ".part-step-000006").mkdir()  # as earlier releases called it
    (parent / ".last.01234567.part").write_text("st")
    assert newest_to_resume(parent) == StepFolder.at(parent, 3)
    assert sorted(path.name for path in parent.iterdir()) == ["last", "step-000003"]


def test_last_catches_up_after_a_kill_between_rename_and_pointer(parent):
    written(parent, 3)
    StepFolder.at(parent, 6).write(TENSORS, {"step": 6})
    assert (parent / "last").read_text() == "step-000003\n"
    newest_to_resume(parent)
    assert (parent / "last").read_text() == "step-000006\n"


def test_last_that_names_nothing_is_mended(parent):
    written(parent, 3)
    (parent / "last").write_text("step-000009\n")
    assert newest_to_resume(parent) == StepFolder.at(parent, 3)
    assert (parent / "last").read_text() == "step-000003\n"


def test_nothing_to_resume_from(parent):
    assert newest_to_resume(parent) is None


def test_removing(parent):
    written(parent, 3).remove()
    assert [entry.name for entry in parent.iterdir()] == ["last"]


def test_a_damaged_rest_file(parent):
    folder = written(parent, 3)
    (folder.path / "rest.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"rest\.pt is damaged"):
        folder.read_rest()


def test_atomic_text_leaves_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    atomic.write_text(tmp_path / "a", "old")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        atomic.write_text(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
