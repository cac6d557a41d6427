"""Evaluations that are killed, shared and resumed: the same bytes whatever happens."""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.acceptance.forked import python
from tests.evaluate.judge_server import judge_server
from tests.run_directories import CLIP, finish, make_run
from vxl.errors import CheckpointError, ConfigError, DataError, JudgeError
from vxl.evaluate.benchmarks.json import JsonListConfig
from vxl.evaluate.benchmarks.vdc import VdcConfig
from vxl.evaluate.config import EvaluateConfig
from vxl.evaluate.run import run_evaluation as evaluate
from vxl.evaluate.work import answering
from vxl.evaluate.work.answers import answer_files
from vxl.generate.loaded import LoadedModel
from vxl.run.config import DebugConfig, PathsConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and a list of questions about six parts of a clip."""
    root = tmp_path_factory.mktemp("survival")
    finish(make_run(root / "runs", "mine", "video.max_frames=4", steps=(5,)))
    options = ["A beach", "Skyscrapers", "A forest", "A mountain"]
    rows = []
    for part in range(6):
        for number, letter in enumerate("AB"):
            rows.append(
                {
                    "id": f"{part}-{number}",
                    "video": CLIP.name,
                    "start": part / 4,
                    "end": part / 4 + 1,
                    "question": f"What is shown? ({number})",
                    "options": options,
                    "answer": letter,
                    "kind": "odd" if part % 2 else "even",
                }
            )
    (root / "held_out.json").write_text(json.dumps(rows))
    return root


def config(place: Path, out: Path, **changes: Any) -> EvaluateConfig:
    settings = EvaluateConfig(
        run="mine",
        benchmark=JsonListConfig(json=str(place / "held_out.json"), videos=str(CLIP.parent)),
        paths=PathsConfig(runs=str(place / "runs"), cache=str(place / "cache")),
        debug=DebugConfig(),
        device="cpu",
        max_new_tokens=4,
        output=str(out),
        patience=1.0,
    )
    return replace(settings, **changes)


def evaluated(place: Path, out: Path, **changes: Any) -> tuple[list[Any], str]:
    console = Console(file=io.StringIO(), width=100)
    return evaluate(config(place, out, **changes), console), console.file.getvalue()


@pytest.fixture(scope="module")
def expected(place: Path) -> bytes:
    evaluated(place, place / "expected")
    return (place / "expected" / "mine" / "json.json").read_bytes()


class Killed(BaseException):
    """Like a kill: nothing but the operating system cleans up."""


def test_a_killed_evaluation_goes_on_where_it_was(
    place: Path, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, watched = LoadedModel.watch, []

    def watch(self: LoadedModel, *looks: Any, **settings: Any) -> Any:
        if len(watched) % 3 == 2:
            watched.append(None)
            raise Killed
        watched.append(looks)
        return original(self, *looks, **settings)

    monkeypatch.setattr(LoadedModel, "watch", watch)
    kills = 0
    while True:
        try:
            evaluated(place, tmp_path)
            break
        except Killed:
            kills += 1
    assert kills == 2
    assert len([looks for looks in watched if looks is not None]) == 6  # no video is watched twice
    assert (tmp_path / "mine" / "json.json").read_bytes() == expected


def test_a_finished_one_is_reported_again_without_the_model(
    place: Path, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "expected", tmp_path / "again")
    (tmp_path / "again" / "mine" / "json.json").unlink()
    monkeypatch.setattr("vxl.evaluate.evaluation.load_subject", None)
    evaluated(place, tmp_path / "again")
    assert (tmp_path / "again" / "mine" / "json.json").read_bytes() == expected


def test_the_longest_video_is_first_and_a_file_gets_a_line_now_and_then(place: Path, tmp_path: Path) -> None:
    rows = json.loads((place / "held_out.json").read_text())[:6]
    for row in rows:
        row["end"] = row["start"] + (3 if row["id"].startswith("1") else 1)
    listed = tmp_path / "three.json"
    listed.write_text(json.dumps(rows))
    _, text = evaluated(place, tmp_path, benchmark=JsonListConfig(json=str(listed), videos=str(CLIP.parent)))
    lines = (tmp_path / "mine/json/answers.0.jsonl").read_text().splitlines()[1:]
    assert [json.loads(line)["key"] for line in lines] == ["1-0", "1-1", "0-0", "0-1", "2-0", "2-1"]
    assert "video 1 of 3 · 2 answers · " in text
    assert "video 3 of 3 · 6 answers · " in text


def test_answers_of_another_length_are_put_aside_and_said_to_be(
    place: Path, expected: bytes, tmp_path: Path
) -> None:
    shutil.copytree(place / "expected", tmp_path / "again")
    reports, text = evaluated(place, tmp_path / "again", max_new_tokens=5)
    assert "answers of another protocol" in " ".join(text.split())
    work = tmp_path / "again" / "mine" / "json"
    assert len(list(work.glob("aside-*/answers.*.jsonl"))) == 1
    assert reports[0].protocol.short not in expected.decode()


def test_members_that_share_a_watched_video_answer_as_if_each_had_watched_it(
    place: Path, tmp_path: Path
) -> None:
    words = ["kv=snapkv", "kv.of=visual"]
    shared, _ = evaluated(place, tmp_path / "both", change=[*words, "kv.keep=0.5,0.25"], limit=4)
    assert [report.member for report in shared] == [f"{','.join(words)},kv.keep={k}" for k in (0.5, 0.25)]
    for report, keep in zip(shared, ("0.5", "0.25"), strict=True):
        (alone,), _ = evaluated(place, tmp_path / keep, change=[*words, f"kv.keep={keep}"], limit=4)
        assert len(alone.graded) == 4
        assert [item.text for item in alone.graded] == [item.text for item in report.graded]
        assert alone.protocol.fingerprint == report.protocol.fingerprint


def test_one_watch_serves_all_policies_that_act_at_the_question(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, watched = LoadedModel.watch, []

    def watch(self: LoadedModel, *looks: Any, **settings: Any) -> Any:
        watched.append(looks)
        return original(self, *looks, **settings)

    monkeypatch.setattr(LoadedModel, "watch", watch)
    reports, text = evaluated(place, tmp_path, change=["kv=snapkv", "kv.of=visual", "kv.keep=0.75,0.5,0.25"])
    assert len(reports) == 3
    assert len(watched) == 6
    assert text.count(": the same score as ") == 2
    group = json.loads((tmp_path / "mine" / "group-json.json").read_text())
    assert [member["member"] for member in group["members"]] == [report.member for report in reports]


def test_what_was_trained_is_refused_with_the_reason(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it was trained: another ratio is another model"):
        evaluated(place, tmp_path, change=["compressor.ratio=4"])
    with pytest.raises(ConfigError, match="summary tokens"):
        evaluated(place, tmp_path, change=["kv=vst"])
    with pytest.raises(ConfigError, match="there is no key kv"):
        evaluated(place, tmp_path, change=["kv.kep=1"])


def test_missing_videos_are_listed_before_the_model_is_loaded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = json.loads((place / "held_out.json").read_text())
    rows[0]["video"], rows[5]["video"] = "gone.mp4", "lost.mp4"
    listed = tmp_path / "some.json"
    listed.write_text(json.dumps(rows))
    monkeypatch.setattr("vxl.evaluate.evaluation.load_subject", None)
    with pytest.raises(DataError, match=r"2 of 3 videos are not there\.\n  missing: gone\.mp4, lost\.mp4"):
        evaluated(place, tmp_path, benchmark=JsonListConfig(json=str(listed), videos=str(CLIP.parent)))
    monkeypatch.undo()
    skipping = JsonListConfig(json=str(listed), videos=str(CLIP.parent), missing="skip")
    (report,), text = evaluated(place, tmp_path, benchmark=skipping)
    assert "incomplete (10 of 12)" in text
    plain = report.plain()
    assert plain["missing"] == ["0-0", "2-1"]
    assert plain["accuracy_if_missing_wrong"] <= plain["accuracy"]["accuracy"]


def test_a_damaged_video_ends_it_or_fails_alone(place: Path, tmp_path: Path) -> None:
    (tmp_path / CLIP.name).write_bytes(CLIP.read_bytes()[:20_000])
    broken = JsonListConfig(json=str(place / "held_out.json"), videos=str(tmp_path))
    with pytest.raises(DataError, match="city"):
        evaluated(place, tmp_path / "out", benchmark=broken)
    skipping = JsonListConfig(json=str(place / "held_out.json"), videos=str(tmp_path), missing="skip")
    (report,), text = evaluated(place, tmp_path / "out", benchmark=skipping)
    assert len(report.failed) == 12
    assert report.overall.right == 0
    assert "items failed and count as wrong" in text


def test_memory_that_runs_out_is_tried_once_more_alone_and_then_costs_that_video(
    place: Path, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, watched = LoadedModel.watch, []

    def watch(self: LoadedModel, *looks: Any, **settings: Any) -> Any:
        watched.append(looks[0].start)
        if looks[0].start == 0.5 or (looks[0].start == 0.25 and watched.count(0.25) == 1):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, *looks, **settings)

    monkeypatch.setattr(LoadedModel, "watch", watch)
    (report,), text = evaluated(place, tmp_path)
    assert (watched.count(0.25), watched.count(0.5), len(watched)) == (2, 2, 8)
    assert {item.key for item in report.failed} == {"2-0", "2-1"}
    assert report.failed[0].failed == "CUDA out of memory. Tried to allocate 2.00 GiB."
    assert not any(item.right for item in report.failed)
    assert "incomplete (10 of 12)" in text
    whole = {answer["key"]: answer["text"] for answer in json.loads(expected)["answers"]}
    assert {i.key: i.text for i in report.graded if not i.failed}.items() <= whole.items()


def test_a_member_that_had_answered_is_not_asked_again_when_memory_runs_out(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = answering.ask_greedily, []

    def asked(loaded: LoadedModel, *given: Any, **named: Any) -> Any:
        seen.append(loaded.config.kv.keep)
        if seen.count(0.25) == 1:
            seen.append(0)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(loaded, *given, **named)

    monkeypatch.setattr(answering, "ask_greedily", asked)
    reports, _ = evaluated(place, tmp_path, change=["kv=snapkv", "kv.of=visual", "kv.keep=0.5,0.25"])
    assert not any(report.failed for report in reports)
    assert seen.count(0.5) == 12


def test_a_judge_that_is_silent_costs_its_metric_alone_and_is_asked_again_without_the_model(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qa = [{"question": "Where?", "answer": "In a city"}]
    rows = [{"video_name": CLIP.name, "caption": "A city.", "qa_list": qa}]
    listed = tmp_path / "detailed.json"
    listed.write_text(json.dumps(rows))
    monkeypatch.setattr("vxl.evaluate.work.judge.WAITS", (0.0,))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked = VdcConfig(annotations=str(listed), videos=str(CLIP.parent))
    with pytest.raises(JudgeError, match="type the same command again"):
        evaluated(place, tmp_path, benchmark=replace(asked, judge="http://127.0.0.1:9/v1"))
    written = json.loads((tmp_path / "mine" / "vdc.json").read_text())
    unlike, silent = written["notes"]
    assert unlike.startswith("another revision, or not complete: items: expected 1027, got 1")
    assert silent == "VDC score is not computed: the judge does not answer"
    assert written["accuracy"]["accuracy"] is None
    monkeypatch.setattr("vxl.evaluate.evaluation.load_subject", None)
    with judge_server(lambda *_: "{'pred': 'yes', 'score': 3}") as stand:
        (report,), text = evaluated(place, tmp_path, benchmark=replace(asked, judge=stand.url))
    assert report.plain()["metrics"][1]["mean"] == 3.0
    assert "VDC score: judged by meta-llama/Llama-3.1-8B-Instruct" in text
    assert (tmp_path / "mine" / "vdc" / "judge.jsonl").read_text().count("reply") == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_noticed_first(place: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="can't be written"):
        evaluated(place, tmp_path / "out")


def command(place: Path, out: Path, *words: str) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "evaluate.py"), "run=mine", "benchmark=json", "device=cpu"),
        *(f"benchmark.json={place / 'held_out.json'}", f"benchmark.videos={CLIP.parent}"),
        *(f"paths.runs={place / 'runs'}", f"paths.cache={place / 'cache'}", f"output={out}"),
        *("max_new_tokens=4", *words),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_writes_the_same_bytes(
    place: Path, expected: bytes, tmp_path: Path, workers: int
) -> None:
    _, *words = command(place, tmp_path, "cluster=local", f"workers={workers}")
    status, said = python(words, cwd=ROOT)
    assert status == 0, said
    assert f"{workers} workers share the videos" in said
    assert (tmp_path / "mine" / "json.json").read_bytes() == expected


@pytest.mark.kills
def test_twenty_random_kills_leave_the_same_bytes(place: Path, expected: bytes, tmp_path: Path) -> None:
    generator = random.Random(0)
    kills = 0
    while kills < 20:
        process = subprocess.Popen(
            command(place, tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(generator.uniform(0.5, 12))
        if process.poll() is not None:  # it came through: begin anew
            (tmp_path / "mine" / "json.json").unlink(missing_ok=True)
            for file in answer_files(tmp_path / "mine" / "json")[generator.randint(0, 1) :]:
                file.unlink()
        else:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    subprocess.run(command(place, tmp_path), cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "mine" / "json.json").read_bytes() == expected
