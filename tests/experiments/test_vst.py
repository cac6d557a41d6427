"""The benchmark of summary tokens: that it runs, and what its committed numbers promise."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.experiments.scripts import as_module

FOLDER = Path(__file__).parents[2] / "experiments" / "004_vst"


def test_it_runs_in_miniature() -> None:
    module = as_module(FOLDER / "bench.py")
    machine = module.Machine(tiny=True, commit="none")
    model = module.made(machine).eval()
    piece = torch.zeros(20, 3, 56, 56, dtype=torch.uint8)
    rows = [module.watched(model, piece, 25, ratio, machine) for ratio in (2, 4)]
    assert [row["tokens"] for row in rows] == [14 + 25 * 4] * 2
    assert [row["kept"] for row in rows] == [14 + 50, 14 + 25]
    assert rows[0]["cache_bytes"] > rows[1]["cache_bytes"] > 0
    row = module.trained(machine, piece[:15], steps=1, profiled=True)
    assert row["windows"] == 2
    assert row["tokens"] == 14 + 15 * 4 + 200
    assert row["loss_first_last"][1] < row["loss_first_last"][0]


def test_operations_are_those_of_the_model() -> None:
    module = as_module(FOLDER / "bench.py")
    machine = module.Machine(tiny=True, commit="none")
    model = module.made(machine)
    few, many = (module.flops(model, module.head_of(model, frames, timed=False), 2) for frames in (20, 40))
    assert 2 * few < many < 3 * few  # linear but for the attention to what stays
    assert module.flops(model, module.head_of(model, 20, timed=False), 16) < few


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return json.loads((FOLDER / "results.json").read_text())


def test_the_table_is_whole(rows: list[dict[str, Any]]) -> None:
    found = {(row["frames"], row["ratio"]) for row in rows if "ttft_s" in row}
    assert found == {(f, r) for f in (128, 256, 512, 1024, 2048) for r in (2, 4, 8, 16, 32)}
    assert all(row["device"] and row["torch"] and row["commit"] for row in rows)


def test_2048_frames_at_ratio_16(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if (row["frames"], row["ratio"]) == (2048, 16) and "ttft_s" in row)
    assert row["ttft_s"] <= 16
    assert row["peak_gib"] <= 40


def test_a_training_step_of_13_windows(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if "training" in row)
    assert (row["frames"], row["windows"]) == (128, 13)
    assert row["tokens_per_s"] > 0
    assert row["peak_gib"] < 80
