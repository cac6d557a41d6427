"""Errors from anywhere that end a command with a message: here a full disk, whoever met it."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from vxl.atomic import whole_file, whole_folder
from vxl.cli.main import main
from vxl.config.command import run_command
from vxl.config.unforeseen import ending, in_words
from vxl.data.source.ranges import GoneError
from vxl.errors import CheckpointError, LostError
from vxl.faults import refused_by_disk
from vxl.train.faults import name_a_full_disk

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class OfRustError(Exception):
    """As tokenizers and safetensors raise it."""


def test_a_full_disk_is_known_whoever_says_so() -> None:
    said = OfRustError("Error while serializing: I/O error: No space left on device (os error 28)")
    for error in (FULL, said, OfRustError("Read-only file system (os error 30)")):
        refused = refused_by_disk(error)
        assert refused is not None
        assert refused.errno in (errno.ENOSPC, errno.EROFS)
    others = (
        OSError(errno.ENOENT, "gone", "x"),
        OfRustError("gone (os error 2)"),
        ValueError("28"),
        OSError("odd"),
    )
    assert not any(map(refused_by_disk, others))
    with pytest.raises(Exception, match="os error") as raised:  # the form of the package's own messages
        save_file({"a": torch.zeros(1)}, "/no/such/folder/x")
    assert not isinstance(raised.value, OSError)


@pytest.mark.parametrize("kind", [whole_file, whole_folder])
def test_what_could_not_be_written_is_named(tmp_path: Path, kind) -> None:
    with pytest.raises(OSError, match="No space") as raised, kind(tmp_path / "wanted"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert raised.value.filename == str(tmp_path / "wanted")
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_meets_a_full_disk_says_so_on_one_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def fails(*_: object) -> None:
        with whole_file(tmp_path / "frames" / "a.jpg"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert run_command("train", fails, ["model=tiny"]) == 2
    said = f"{tmp_path}/frames/a.jpg can't be written: the disk is full.\n  free space, or write elsewhere:  "
    assert capsys.readouterr().err == f"\nconfig error: {said}paths.runs=FOLDER\n"
    assert run_command("train", fails, ["model=tiny", "seed=0,1", "name=both"]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert printed.err.count(said) == 2
    monkeypatch.setattr("vxl.cli.main._runs", fails)
    with pytest.raises(SystemExit) as ended:
        main(["runs"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"config error: {said}another folder\n"


def test_the_message_names_what_is_to_be_mended_and_the_status_whether_to_try_again() -> None:
    assert ending(GoneError("no file"), []) == ("data error: no file", 2)
    assert ending(LostError("killed"), []) == ("error: killed", 1)
    assert ending(ValueError("a fault"), []) is None


def test_output_that_goes_to_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w") as output:
        monkeypatch.setattr("sys.stdout", output)
        assert in_words(FULL) == (
            "a file can't be written: the disk is full.\n  free space, or write elsewhere:  paths.runs=FOLDER"
        )
        monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=0))
        assert in_words(FULL) == (
            "the output can't be written: the disk is full.\n  free space, or write elsewhere:  > FILE"
        )
        output.write("lost")
    assert (tmp_path / "out").read_text() == "", "and Python does not try once more at its end"


def test_a_training_names_the_folder_that_is_full(tmp_path: Path) -> None:
    for name, key in (("run/metrics.csv", "paths.runs"), ("cache/clips", "paths.cache")):
        with pytest.raises(CheckpointError) as raised, name_a_full_disk(tmp_path / "run"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / name))
        assert str(raised.value).startswith(
            f"{tmp_path / name} can't be written: the disk is full.\n"
            f"  free space, or write elsewhere:  {key}=FOLDER\n"
        )
    with (
        pytest.raises(CheckpointError, match=f"{tmp_path}/run can't be written"),
        name_a_full_disk(tmp_path / "run"),
    ):
        raise OfRustError("No space left on device (os error 28)")
