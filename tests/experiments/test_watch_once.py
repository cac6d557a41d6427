"""The rows of experiments/005_watch_once: what was measured holds what is claimed, and the script runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "005_watch_once"
MEMORY = 3.0
"""TB/s that an H100 reads."""


def row(frames: int, mode: str, time_rows: str | None, kv: str = "full") -> dict[str, Any]:
    wanted = {"frames": frames, "mode": mode, "time_rows": time_rows, "kv": kv}
    rows = json.loads((FOLDER / "results.json").read_text())
    return next(r for r in rows if wanted.items() <= r.items())


@pytest.mark.parametrize(("time_rows", "factor"), [("window", 1.0), ("all", 1.3)])
@pytest.mark.parametrize(("frames", "seconds", "gib"), [(2048, 6.0, 30), (10000, 40, 48)])
def test_first_token(frames: int, seconds: float, gib: float, time_rows: str, factor: float) -> None:
    found = row(frames, "chunked", time_rows)
    assert found["ttft_s"] <= factor * seconds
    assert found["peak_gib"] <= factor * gib


@pytest.mark.parametrize(("frames", "seconds", "gib"), [(2048, 6.0, 30), (10000, 40, 48)])
def test_first_token_on_two_levels(frames: int, seconds: float, gib: float) -> None:
    found = row(frames, "chunked", "window", "bilevel")
    assert found["ttft_s"] <= seconds
    assert found["peak_gib"] <= gib


def test_an_hour_from_file_to_answer() -> None:
    found = row(3600, "file", "window")
    assert found["video_seconds"] >= 3600
    assert found["answered_s"] <= 60


def test_chunked_against_dense() -> None:
    dense, chunked = row(10000, "dense", None), row(10000, "chunked", "window")
    assert dense["prefill_s"] >= 2.5 * chunked["prefill_s"]


def test_encoding() -> None:
    assert row(2048, "chunked", "window")["encode_s"] <= 3.8


def test_second_question() -> None:
    found = row(2048, "chunked", "window")
    assert found["second_question_s"] <= 0.05 * found["ttft_s"]


@pytest.mark.parametrize("frames", [2048, 10000])
def test_decoding(frames: int) -> None:
    found = row(frames, "chunked", "window")
    floor_s = found["read_gb_per_token"] / 1000 / MEMORY
    assert 1 / found["decode_tok_s"] <= 1.5 * floor_s


def test_every_row_says_where_it_comes_from() -> None:
    rows = json.loads((FOLDER / "results.json").read_text())
    assert {"NVIDIA H100 80GB HBM3"} == {r["device"] for r in rows}
    assert all(r["commit"] and r["torch"] for r in rows)


@pytest.mark.slow
def test_the_script_runs_in_miniature(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    environment = {
        **os.environ,
        "TINY": "--tiny",
        "OUT": str(out),
        "SECONDS_OF_VIDEO": "10",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["bash", "experiments/005_watch_once/run.sh", "--frames", "64", "300"]
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads(out.read_text())
    assert len(rows) == 2 * 3 * 2 + 1
    assert {r["mode"] for r in rows} == {"dense", "chunked", "file"}
    assert all(r["cache_gib"] > 0 or r["frames"] < 300 for r in rows if r["mode"] != "file")
    assert rows[-1]["answer_tokens"] == 65
