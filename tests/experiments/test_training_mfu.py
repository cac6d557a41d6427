"""The benchmark of training: in miniature on the CPU, and what it found on an H100."""

import json
import runpy
from pathlib import Path

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


def test_the_recorded_row_is_whole_and_the_data_kept_up():
    rows = json.loads((FOLDER / "results.json").read_text())
    best = max(rows, key=lambda row: row["mfu"])
    assert "H100" in best["device"]
    assert best["tflop_of_all"] == pytest.approx(sum(best["tflop_a_step"].values()))
    reached = best["tflop_of_all"] / best["seconds_a_step"] / 989
    assert best["mfu"] == pytest.approx(reached, rel=1e-3)
    assert best["data_wait"] < 0.02
    assert best["tokens_a_step"] > 0.9 * 8192
    assert f"{best['mfu']:.1%}".replace("%", " %") in (FOLDER / "README.md").read_text()


@pytest.mark.xfail(reason="33.7 % are recorded: see the experiment's README for what is left", strict=True)
def test_the_recorded_row_reaches_the_target():
    rows = json.loads((FOLDER / "results.json").read_text())
    assert max(row["mfu"] for row in rows) >= 0.40
