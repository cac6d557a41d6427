"""lmms-eval's own openai model asks the server, with `file://` videos: its evaluator, its client, our score.

lmms-eval's pins are not those of vxl's training, so it runs in an environment of its own (docs/lmms_eval.md).
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lmms.test_tasks import CITY, ROWS
from tests.test_floors import ROOT
from vxl.evaluate.benchmarks.json import JsonList, JsonListConfig
from vxl.evaluate.work.answering import ask_greedily
from vxl.evaluate.work.variants import variant
from vxl.generate.loaded import LoadedModel
from vxl.lmms.tasks import process_results, write_task

PYTHON = os.environ.get("VXL_LMMS_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="VXL_LMMS_PYTHON=FILE names a python that has lmms-eval"),
]
FRAMES = 8
AGAIN = {"id": "again", "question": "Where?", "options": ["sea", "land"], "answer": "B"} | CITY


def test_it_asks_about_files_and_reads_the_score(
    listening: Callable[..., Any], loaded: LoadedModel, clips: Path, tmp_path: Path
) -> None:
    asked = [*(row for row in ROWS if "start" not in row), AGAIN]  # their client sends whole videos only
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    settings = JsonListConfig(annotations=str(tmp_path / "rows.jsonl"), videos=str(clips), prompt="lmms")
    benchmark = JsonList(settings, data={}, cache=tmp_path / "cache")
    task = write_task(benchmark, tmp_path / "tasks")
    server, address = listening()
    words = {
        "model_version": "first", "base_url": f"{address}/v1", "api_key": "none", "timeout": 300,
        "pass_video_url": True, "max_frames_num": FRAMES, "num_concurrent": 2, "max_retries": 1,
    }  # fmt: skip
    given = ",".join(f"{name}={value}" for name, value in words.items())
    done = subprocess.run(
        [
            str(PYTHON), "-m", "lmms_eval", "--model", "openai", "--model_args", given, "--batch_size", "1",
            "--include_path", str(tmp_path / "tasks"), "--tasks", task,
            "--output_path", str(tmp_path / "out"), "--log_samples",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=900,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    (file,) = tmp_path.glob(f"out/**/*samples_{task}.jsonl")
    samples = {row["doc_id"]: row for row in map(json.loads, file.read_text().splitlines())}
    rows = [json.loads(line) for line in (tmp_path / "tasks" / f"{task}.jsonl").read_text().splitlines()]
    scores = []
    model = variant(loaded, [f"video.max_frames={FRAMES}"])
    for number, (row, item) in enumerate(zip(rows, benchmark.items(), strict=True)):
        context = model.watch(row["video"])
        answer = ask_greedily(model, context, benchmark.ask(item, "lmms"), benchmark.max_new_tokens)
        assert samples[number]["filtered_resps"] == answer.text
        scores.append(process_results(row, [answer.text])["accuracy"])
    (results,) = tmp_path.glob("out/**/*results.json")
    found = json.loads(results.read_text())["results"][task]
    assert found["accuracy,none"] == pytest.approx(sum(scores) / len(scores))
    assert b"vxl_watch_seconds_count 2.0" in server.metrics.text()  # of three questions
