"""Files and folders that are whole or not there, wherever a kill or a full disk comes in between."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vxl import atomic
from vxl.atomic import (
    mend,
    new_folder,
    remove_folder,
    remove_leftovers,
    whole_file,
    whole_folder,
    write_file,
    write_text,
)
from vxl.errors import CheckpointError


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def killed_in(place: str, statement: str) -> None:
    """Runs a statement in a process of its own that ends where it would next touch the disk by `place`."""
    target = {
        "fsync": "atomic.os.fsync",
        "rename": "Path.rename",
        "replace": "Path.replace",
        "exchange": "atomic._exchange",
        "rmtree": "atomic.shutil.rmtree",
    }[place]
    imports = "import os\nfrom pathlib import Path\nfrom vxl import atomic\n"
    script = f"{imports}{target} = lambda *arguments, **settings: os._exit(9)\n"
    done = subprocess.run([sys.executable, "-c", script + statement])
    assert done.returncode == 9


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_kill_leaves_the_old_file(tmp_path: Path, place: str) -> None:
    write_file(tmp_path / "a" / "f", b"old")
    killed_in(place, f"atomic.write_file(Path({str(tmp_path / 'a' / 'f')!r}), b'new')")
    assert (tmp_path / "a" / "f").read_bytes() == b"old"
    assert len(names(tmp_path / "a")) == 2
    remove_leftovers(tmp_path / "a")
    assert names(tmp_path / "a") == ["f"]
    write_file(tmp_path / "a" / "f", b"new")
    assert (tmp_path / "a" / "f").read_bytes() == b"new"


@pytest.mark.parametrize("place", ["fsync", "rename", "exchange", "rmtree"])
def test_a_kill_leaves_the_old_folder_or_the_new_one(tmp_path: Path, place: str) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as part:
        (part / "f").write_text("old")
    killed_in(
        place,
        f"with atomic.whole_folder(Path({str(out)!r}), existing='replace') as part:\n"
        "    (part / 'f').write_text('new')",
    )
    mend(out)
    assert (out / "f").read_text() == ("new" if place == "rmtree" else "old")
    with whole_folder(out, existing="replace") as part:
        (part / "f").write_text("newer")
    assert names(tmp_path) == ["out"]
    assert (out / "f").read_text() == "newer"


def test_without_an_exchange_of_names_a_failing_rename_gives_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as part:
        (part / "f").write_text("old")
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    rename, calls = Path.rename, []

    def fail_third(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 3:
            raise OSError(errno.EIO, "I/O error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_third)
        with pytest.raises(OSError, match="I/O error"), whole_folder(out, existing="replace") as part:
            (part / "f").write_text("new")
    assert (out / "f").read_text() == "old"
    out.rename(tmp_path / ".out.before")  # a kill between the two renames
    mend(out)
    assert (out / "f").read_text() == "old"
    assert names(tmp_path) == ["out"]
    with whole_folder(out, existing="replace") as part:
        (part / "f").write_text("new")
    assert (out / "f").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_what_becomes_of_a_folder_that_is_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with whole_folder(out) as part:  # an empty one is nothing
        (part / "f").write_text("first")
    with whole_folder(out, existing="keep") as part:
        (part / "f").write_text("second")
    assert (out / "f").read_text() == "first"
    with pytest.raises(OSError, match="File exists"), whole_folder(out) as part:
        (part / "f").write_text("third")
    with pytest.raises(CheckpointError, match="exists; nothing was written"), new_folder(out):
        raise AssertionError("not reached")
    assert names(tmp_path) == ["out"]


def test_of_two_writers_the_second_is_told_that_the_folder_is_there(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write(name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        with new_folder(out) as part:
            (part / name).touch()
            meanwhile()

    with pytest.raises(CheckpointError, match="exists; nothing was written"):
        write("mine", lambda: write("theirs"))
    assert names(tmp_path) == ["out"]
    assert names(out) == ["theirs"]


def test_leftovers_of_live_writers_stay(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as folder, whole_file(tmp_path / "f") as file:
        (tmp_path / ".f.backup.part").write_text("not ours")
        remove_leftovers(tmp_path)
        assert names(tmp_path) == sorted([folder.name, file.name, ".f.backup.part"])


def test_everything_is_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with whole_folder(tmp_path / "out") as part:
        (part / "below").mkdir()
        (part / "below" / "f").write_text("x")
    assert set(synced) == {str(part), str(part / "below"), str(part / "below" / "f"), str(tmp_path)}
    assert synced[-1] == str(tmp_path)


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "f", "x")
    write_text(tmp_path / "f", "secret", mode=0o600)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_a_removal_that_is_cut_short_leaves_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    write_text(folder / "one", "1")

    def cut_short(path: Path) -> None:
        assert (path / "one").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic.shutil, "rmtree", cut_short)
        with pytest.raises(KeyboardInterrupt):
            remove_folder(folder)
    assert not folder.exists()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [".", "/"])
def test_a_folder_without_a_name_is_no_file(path: str) -> None:
    with pytest.raises(IsADirectoryError):
        write_text(Path(path), "")
