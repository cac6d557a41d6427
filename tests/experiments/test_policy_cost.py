"""The benchmark of policies: in miniature on the CPU, and what it found on an H200."""

import json
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "021_policy_cost"


@pytest.mark.slow
def test_the_benchmark_runs_in_miniature_in_the_order_of_the_names(tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    typed = ["bench.py", "--tiny", "--frames", "32", "--names", "recent", "knorm", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", typed)
    runpy.run_path(str(FOLDER / "bench.py"), run_name="bench")["main"]()
    rows = json.loads(out.read_text())
    assert [row.get("kv") for row in rows] == ["full", "recent", None, "knorm", "full"]
    assert rows[2]["prune"] == "recent"
    assert not [row["failed"] for row in rows if "failed" in row]
    assert rows[1]["context_gib"] <= rows[0]["context_gib"]
    assert all(row["prefill_s"] > 0 for row in rows)


@pytest.mark.slow
def test_the_hour_runs_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "hour.json"
    monkeypatch.setattr(sys, "argv", ["hour.py", "--tiny", "--frames", "64", "--out", str(out)])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(FOLDER / "hour.py"), run_name="hour")["main"]()
    coded, plain = json.loads(out.read_text())
    assert coded["tokens"] == plain["tokens"]
    assert len(coded["question_s"]) == len(plain["question_s"]) == 10


def test_the_table_is_the_recorded_rows():
    figure = runpy.run_path(str(FOLDER / "figure.py"), run_name="figure")
    lines = (FOLDER / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith(("| `kv=", "| `prune="))] == figure["table"]()


def test_every_row_says_where_it_comes_from():
    for row in json.loads((FOLDER / "results.json").read_text()):
        assert row["device"] == "NVIDIA H200"
        assert row["commit"]
        assert row["call"]
        assert row["failed"] if "failed" in row else row["frames"] in (512, 1024, 2048)
