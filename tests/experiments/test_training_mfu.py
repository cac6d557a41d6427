"""The benchmark of training: in miniature on the CPU, and what it found on an H100."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "040_training_mfu"


@pytest.mark.slow
def test_the_benchmark_runs_in_miniature(tmp_path):
    run = runpy.run_path(str(FOLDER / "mfu.py"), run_name="mfu")["run"]
    (row,) = run(tiny=True, variants="eager", warm=1, steps=2, workers=0, as_json=tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text())[0]["steps"] == row["steps"] == 2
    assert row["mfu"] is None
    assert row["tokens_per_s"] > 0
    assert 300 < row["tokens_a_step"] <= 512
    assert row["tflop_of_all"] == pytest.approx(sum(row["tflop_a_step"].values()))
    assert row["sections_ms"]["backward"] > 0


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    """The recorded rows by variant."""
    return {row["variant"]: row for row in json.loads((FOLDER / "results.json").read_text())}


def test_the_recorded_rows_are_whole_and_the_data_kept_up(rows):
    for row in rows.values():
        assert "H100" in row["device"]
        assert row["tflop_of_all"] == pytest.approx(sum(row["tflop_a_step"].values()))
        reached = row["tflop_of_all"] / row["seconds_a_step"] / 989
        assert row["mfu"] == pytest.approx(reached, rel=1e-3)
        assert row["data_wait"] < 0.02
        assert row["peak_memory_gib"] < 72
        assert f"{row['mfu']:.1%}".replace("%", " %") in (FOLDER / "README.md").read_text()


def test_the_recorded_row_reaches_the_target(rows):
    row = rows["eager"]
    assert row["rows"] == [1, 1]
    assert 7000 < row["tokens_a_step"] <= 8192
    assert row["mfu"] >= 0.40


def test_the_micro_batch_that_was_found_has_trained(rows):
    row = rows["auto"]
    micro, accumulated = row["rows"]
    assert micro * accumulated == 8
    assert micro > 1
    assert row["loss_first_last"][1] < row["loss_first_last"][0]
