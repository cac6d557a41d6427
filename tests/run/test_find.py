import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from vxl.cli.runs import show_runs
from vxl.errors import ConfigError
from vxl.run.find import Run, find_members, find_run, list_runs
from vxl.units import human_age, human_size, significant


def make(root: Path, name: str, *, age: float = 0.0, **files: object) -> Path:
    """A run directory with some of its files."""
    run = root / name
    run.mkdir(parents=True)
    (run / "resolved.yaml").write_text(yaml.safe_dump({"seed": 0, "trainer": {"max_steps": 20}}))
    for file, content in files.items():
        path = run / {"result": "RESULT.json", "failed": "FAILED.json", "lock": ".lock"}.get(file, file)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    if files.get("metrics"):
        (run / "metrics").rename(run / "metrics.csv")
    for path in run.iterdir():
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))
    return run


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


METRICS = "step,loss,val/loss\n1,3.5,\n2,3.25,3.0\n3,3.125,\n"


def test_status_of_every_kind(tmp_path: Path) -> None:
    here = socket.gethostname()
    make(tmp_path, "new")
    make(tmp_path, "finished", result={"loss_last": 1.0}, metrics=METRICS)
    make(tmp_path, "running", lock={"host": here, "pid": os.getpid()}, metrics=METRICS)
    make(tmp_path, "elsewhere", lock={"host": "another-machine", "pid": 1})
    make(tmp_path, "killed", lock={"host": here, "pid": dead_pid()}, metrics=METRICS)
    make(tmp_path, "killed_unlocked", metrics=METRICS)
    make(tmp_path, "killed_early", **{"provenance.json": {}})
    make(tmp_path, "failed", failed={"error": "no frames", "type": "DataError"}, metrics=METRICS)
    make(tmp_path, "again", failed={"error": "no frames"}, lock={"host": here, "pid": os.getpid()})
    assert {run.name: run.status for run in list_runs(tmp_path)} == {
        "new": "new",
        "finished": "finished",
        "running": "running",
        "elsewhere": "running",
        "killed": "killed",
        "killed_unlocked": "stopped",
        "killed_early": "stopped",
        "failed": "failed",
        "again": "running",
    }


def test_numbers_come_from_the_last_row_that_has_them(tmp_path: Path) -> None:
    run = Run("a", make(tmp_path, "a", metrics=METRICS))
    assert run.metrics == {"step": 3.0, "loss": 3.125, "val/loss": 3.0}
    assert run.step == 3
    assert run.steps == 20
    assert run.size == sum(file.stat().st_size for file in run.path.iterdir())
    checkpoint = run.path / "checkpoints" / "step-000007"
    checkpoint.mkdir(parents=True)
    assert run.step == 7


def test_a_row_that_is_being_written_is_no_error(tmp_path: Path) -> None:
    run = Run("a", make(tmp_path, "a", metrics=METRICS + "4,2."))
    assert run.metrics["step"] == 4.0


def test_a_list_of_runs_goes_on_where_files_are_not_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is training removes a checkpoint meanwhile; another's metrics are of somebody else."""
    run = Run("a", make(tmp_path, "a", metrics=METRICS))
    (run.path / "gone").write_text("here a moment ago")
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        if str(path).endswith("gone"):
            raise FileNotFoundError(path)
        return real(path)

    size = run.size
    monkeypatch.setattr("vxl.run.find.os.lstat", lstat)
    assert run.size == size - len("here a moment ago")
    assert run.age < 60
    (run.path / "metrics.csv").unlink()
    (run.path / "metrics.csv").mkdir()
    assert (run.metrics, run.step) == ({}, 0)


def test_list_is_the_most_recent_first_and_knows_sweeps(tmp_path: Path) -> None:
    make(tmp_path, "old", age=500)
    make(tmp_path, "sweep/ratio=16", age=100)
    make(tmp_path, "sweep/ratio=4", age=10)
    (tmp_path / "not a run").mkdir()
    assert [run.name for run in list_runs(tmp_path)] == ["sweep/ratio=4", "sweep/ratio=16", "old"]


def test_a_runs_own_folders_are_no_runs(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    make(run, "checkpoints/step-000001")
    assert [found.name for found in list_runs(tmp_path)] == ["a"]


def test_members_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for ratio in (64, 4, 16):
        make(tmp_path, f"sweep/ratio={ratio}")
    assert [run.path.name for run in find_members("sweep", tmp_path)] == ["ratio=4", "ratio=16", "ratio=64"]
    assert [run.name for run in find_members("sweep/ratio=4", tmp_path)] == ["sweep/ratio=4"]


def test_find_by_name_and_by_path(tmp_path: Path) -> None:
    path = make(tmp_path, "sweep/ratio=4")
    assert find_run("sweep/ratio=4", tmp_path).path == path
    assert find_run(str(path), tmp_path / "other").path == path


def test_a_run_that_is_not_there_lists_the_nearest(tmp_path: Path) -> None:
    begun = {"provenance.json": "{}"}
    make(tmp_path, "tiny-3f2a1c", **begun)
    make(tmp_path, "sweep/ratio=4", **begun)
    make(tmp_path, "tiny-3f2a1e")  # a preview
    with pytest.raises(ConfigError) as caught:
        find_run("tiny-3f2a1d", tmp_path)
    assert str(caught.value) == (
        f"there is no run 'tiny-3f2a1d' in {tmp_path}/.\n"
        "  did you mean tiny-3f2a1c?\n"
        f"  runs: {', '.join(run.name for run in list_runs(tmp_path) if run.name != 'tiny-3f2a1e')}, sweep\n"
        "  another folder of runs: paths.runs=FOLDER"
    )
    with pytest.raises(ConfigError, match="no runs at all there"):
        find_members("x", tmp_path / "empty")


def test_table_shows_status_step_and_size(tmp_path: Path) -> None:
    make(tmp_path, "a", metrics=METRICS)
    make(tmp_path, "b", result={"loss_last": 1.0})
    console = Console(width=100, record=True, file=io.StringIO())
    show_runs(tmp_path, {}, None, [], console)
    text = console.export_text()
    assert "stopped" in text
    assert "3/20" in text
    show_runs(tmp_path, {"status": "finished"}, None, [], console)
    text = console.export_text()
    assert " b " in text
    assert " a " not in text
    with pytest.raises(ConfigError, match="status=done does not exist"):
        show_runs(tmp_path, {"status": "done"}, None, [], console)
    with pytest.raises(ConfigError, match="there is no run 'c'"):
        show_runs(tmp_path, {}, None, ["c"], console)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (2e5, "0.191 MiB"), (250e6, "238 MiB"), (2**31, "2.00 GiB")],
)
def test_human_size(size: float, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (150, "2 min"), (3 * 3600, "3 h"), (10 * 86400, "10 d")]
)
def test_human_age(seconds: float, text: str) -> None:
    assert human_age(seconds) == text


def test_three_digits_count_and_none_is_an_exponent() -> None:
    assert [significant(value) for value in (0.22789, 0.23, 12.0, 348.2, 123456.0, 0.0, -0.0123)] == [
        "0.228",
        "0.230",
        "12.0",
        "348",
        "123456",
        "0.00",
        "-0.0123",
    ]


def test_a_sweep_is_no_run_and_names_its_members(tmp_path: Path) -> None:
    for member in ("ratio=16", "ratio=4"):
        (tmp_path / "s" / member).mkdir(parents=True)
        (tmp_path / "s" / member / "resolved.yaml").write_text("compressor: {}")
    with pytest.raises(ConfigError, match=r"^s is a sweep: .*\n  members: s/ratio=4, s/ratio=16$"):
        find_run("s", tmp_path)
