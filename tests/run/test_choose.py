"""Lists of runs: filters by status, age and config, sorting by a number."""

import io
import os
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from tests.run.test_find import make
from vxl.cli.runs import show_runs
from vxl.cli.watch import watch
from vxl.errors import ConfigError
from vxl.run.choose import chosen, ordered, seconds_of
from vxl.run.find import list_runs
from vxl.run.lock import Lock


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs: finished, failed and old."""
    for name, kv, keep, loss in (
        ("a", "full", 1.0, 2.0),
        ("b", "snapkv", 0.5, 1.0),
        ("c", "snapkv", 0.25, 3.0),
    ):
        make(tmp_path, name, metrics=f"step,loss,val/accuracy\n3,{loss},{loss / 10}\n")
        config = {
            "model": "tiny",
            "kv": {"_target_": f"vxl.kv.{kv}.Policy", "keep": keep},
            "trainer": {"max_steps": 6},
        }
        (tmp_path / name / "resolved.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "b" / "FAILED.json").write_text('{"error": "no memory"}')
    before = time.time() - 3 * 86400
    for file in (tmp_path / "c").rglob("*"):
        os.utime(file, (before, before))
    return tmp_path


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, "abc"),
        ({"status": "failed"}, "b"),
        ({"since": "2d"}, "ab"),
        ({"since": "4d"}, "abc"),
        ({"kv": "snapkv"}, "bc"),
        ({"kv": "snapkv", "kv.keep": "0.25"}, "c"),
        ({"model": "videoxl2"}, ""),
    ],
)
def test_filters(runs: Path, filters: dict[str, str], names: str) -> None:
    assert sorted(run.name for run in chosen(list_runs(runs), filters)) == list(names)


@pytest.mark.parametrize(
    ("by", "names"),
    [("loss", "bac"), ("-loss", "cab"), ("-val/accuracy", "cab"), ("name", "abc"), ("-name", "cba")],
)
def test_sorting(runs: Path, by: str, names: str) -> None:
    assert [run.name for run in ordered(list_runs(runs), by)] == list(names)


def test_a_run_without_the_number_comes_last(runs: Path) -> None:
    (runs / "b" / "metrics.csv").unlink()
    for by in ("loss", "-loss"):
        assert ordered(list_runs(runs), by)[-1].name == "b"


@pytest.mark.parametrize(
    ("filters", "sort", "said"),
    [
        ({"kvv": "full"}, None, "did you mean kv"),
        ({"since": "soon"}, None, "soon is no time"),
        ({}, "los", "did you mean loss"),
        ({"status": "done"}, None, "status=done does not exist"),
    ],
)
def test_mistakes_say_what_there_is(runs: Path, filters: dict[str, str], sort: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        show_runs(runs, filters, sort, [], Console(file=io.StringIO()))


def test_the_number_that_a_list_is_sorted_by_is_shown(runs: Path) -> None:
    shown = io.StringIO()
    show_runs(runs, {"kv": "snapkv"}, "loss", [], Console(file=shown, width=80))
    lines = [line for line in shown.getvalue().splitlines() if "3/6" in line]
    assert [line.split()[:3] for line in lines] == [["b", "failed", "1"], ["c", "stopped", "3"]]


def test_times() -> None:
    assert [seconds_of(text) for text in ("90s", "1.5h", "1w")] == [90.0, 5400.0, 604800.0]


@pytest.mark.parametrize("terminal", [True, False])
def test_watching_ends_when_no_member_runs(tmp_path: Path, terminal: bool) -> None:
    rows = "step,loss,accuracy,peak_memory_bytes,total/seconds\n3,1.5,0.25,2000000,30\n"
    for name in ("s/seed=0", "s/seed=1"):
        make(tmp_path, name, metrics=rows)
        (tmp_path / name / "resolved.yaml").write_text("trainer: {max_steps: 9}\n")
    lock = Lock(tmp_path / "s/seed=1/.lock")
    lock.acquire()
    shown = io.StringIO()
    console = Console(file=shown, width=100, force_terminal=terminal)
    looks: list[float] = []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        lock.release()

    watch(tmp_path, ["s"], "7s", console, wait)
    text = shown.getvalue()
    assert looks == [7.0]
    for part in ("seed=1", "running", "3/9", "60 s", "1.500", "25.0 %", "1.91 MiB"):
        assert part in text
    assert text.rindex("running") < text.rindex("stopped")


def test_watching_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vxl runs watch SWEEP"):
        watch(tmp_path, [], None, Console(file=io.StringIO()))
