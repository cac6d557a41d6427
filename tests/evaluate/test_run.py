import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.run_directories import CLIP, finish, make_run
from vxl.data.sample import BadSample, Question, Sample, SampleWithMedia, Visual
from vxl.errors import CheckpointError, ConfigError, DataError
from vxl.evaluate.benchmark import Benchmark, BenchmarkConfig, numbers
from vxl.evaluate.config import EvaluateConfig
from vxl.evaluate.run import run_evaluation as evaluate
from vxl.option.build import ALLOWED
from vxl.run.config import DebugConfig, PathsConfig
from vxl.video.probe import probe


@dataclass(frozen=True, kw_only=True)
class ThreeConfig(BenchmarkConfig):
    _target_: str = f"{__name__}.Three"
    broken: bool = False


class Three(Benchmark):
    """Two questions about one part of a clip, one about the other, and a caption."""

    name = "three"

    def source(self) -> "Three":
        return self

    def __len__(self) -> int:
        return 4

    def record(self, number: int) -> Sample:
        info = probe(CLIP)
        times = ((0.0, 1.0), (0.0, 1.0), (1.0, 2.0), (0.0, 1.0))[number]
        visual = Visual("video", CLIP.name, info.frames, info.fps, info.seconds, 1, 1, *times)
        options = ("A beach", "Skyscrapers", "A forest", "A mountain")
        question = None if number == 3 else Question("What is shown?", options, "ABC"[number])
        return Sample(
            f"k#{number}", visuals=(visual,), question=question, source=("what", "when")[number // 2]
        )

    def load(self, number: int) -> SampleWithMedia:
        media = CLIP.read_bytes()
        return SampleWithMedia(self.record(number), (media[:20_000] if self.config.broken else media,))

    def where(self, number: int) -> tuple[str, str]:
        return "shard.tar", f"k#{number}"

    def known_bad(self) -> list[BadSample]:
        return []


@pytest.fixture(autouse=True)
def _allowed() -> Any:
    ALLOWED.add(f"{__name__}.")
    yield
    ALLOWED.discard(f"{__name__}.")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"), "made")


def config(made: Path, **changes: Any) -> EvaluateConfig:
    values: dict[str, Any] = {
        "run": made.name,
        "benchmark": ThreeConfig(),
        "paths": PathsConfig(runs=str(made.parent), cache=str(made.parent / "cache")),
        "debug": DebugConfig(),
        "device": "cpu",
        "max_new_tokens": 3,
    }
    return EvaluateConfig(**(values | changes))


def evaluated(made: Path, **changes: Any) -> tuple[Any, str]:
    console = Console(file=io.StringIO(), width=160)
    (report,) = evaluate(config(made, **changes), console)
    return report, console.file.getvalue()


def test_accuracy_cost_and_answers_are_kept_in_the_run(made: Path) -> None:
    report, text = evaluated(made)
    assert report.overall.total == 3
    assert {kind: accuracy.total for kind, accuracy in report.kinds.items()} == {"what": 2, "when": 1}
    assert report.overall.chance == 0.25
    written = json.loads((made / "evaluate" / "three.json").read_text())
    assert written["accuracy"]["questions"] == 3
    assert [answer["key"] for answer in written["answers"]] == ["k#0", "k#1", "k#2"]
    assert [answer["right"] for answer in written["answers"]] == [
        answer["parsed"] == answer["answer"] for answer in written["answers"]
    ]
    cost = json.loads((made / "evaluate" / "three" / "cost.json").read_text())
    assert cost["questions"] == 3
    assert cost["prefill_ms"] > 0
    assert cost["cache_bytes"] > 1000
    assert cost["peak_memory_bytes"] > 10**7
    assert cost["visual_tokens"] == 4
    assert (made / "evaluate" / "three.png").read_bytes().startswith(b"\x89PNG")
    for word in ("accuracy", "95 % interval", "chance", "prefill", "decode", "cache", "peak memory"):
        assert word in text


def test_the_same_questions_get_the_same_answers(made: Path) -> None:
    first, _ = evaluated(made)
    again, _ = evaluated(made, resume=False)
    assert first.graded == again.graded
    assert first.graded != evaluated(made, checkpoint="10")[0].graded


def test_kept_frames_change_no_answer(made: Path) -> None:
    first, _ = evaluated(made)
    evaluated(made, resume=False, cache="frames", cache_gib=1e-9)
    assert not list((made.parent / "cache").rglob("*.frames"))
    for _ in ("cold", "warm"):
        assert evaluated(made, resume=False, cache="frames")[0].graded == first.graded
        assert len(list((made.parent / "cache" / "frames").rglob("*.frames"))) == 2


def test_a_video_is_watched_once_for_all_its_questions(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vxl.generate.loaded import LoadedModel

    watched = []
    original = LoadedModel.watch

    def counted(self: LoadedModel, *looks: Any, **settings: Any) -> Any:
        watched.append([(look.start, look.end) for look in looks])
        return original(self, *looks, **settings)

    monkeypatch.setattr(LoadedModel, "watch", counted)
    evaluated(made, resume=False)
    assert watched == [[(0.0, 1.0)], [(1.0, 2.0)]]


def test_limit_takes_the_first_questions(made: Path) -> None:
    assert [item.key for item in evaluated(made, limit=2)[0].graded] == ["k#0", "k#1"]


def test_an_unfinished_run_is_evaluated_and_said_to_be_so(made: Path, tmp_path: Path) -> None:
    report, text = evaluated(made)
    assert "made is not finished (stopped, step 20" in text
    assert "evaluating step-000020" in text
    assert report.status == "stopped"
    other = make_run(tmp_path, "done", steps=(5,))
    finish(other)
    report, text = evaluated(other)
    assert "not finished" not in text
    assert report.checkpoint == "step-000005"


def test_an_evaluation_is_a_wandb_run_of_its_own_where_the_run_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []

    class Sink:
        def __init__(self, config: Any, **run: Any) -> None:
            calls.append(("run", run))

    def note(name: str) -> Any:
        return lambda self, *given: calls.append((name, given))

    run = make_run(tmp_path, "logged", "logger=wandb", steps=(5,))
    monkeypatch.setattr("vxl.logger.wandb.Wandb.__init__", Sink.__init__)
    for name in ("log", "facts", "show", "finish"):
        monkeypatch.setattr(f"vxl.logger.wandb.Wandb.{name}", note(name))
    evaluated(run)
    assert calls == []
    (run / "wandb_id.txt").write_text("logged-1234\n")
    report, _ = evaluated(run)
    found = dict(calls)
    assert [name for name, _ in calls] == ["run", "log", "facts", "show", "finish"]
    made = found["run"]
    assert (made["job_type"], made["name"], made["group"]) == ("evaluate", "logged three", None)
    assert made["directory"] == run / "evaluate" / "three"
    assert made["settings"]["evaluated_run_id"] == "logged-1234"
    assert made["settings"]["choices"]["kv"] == "full"
    assert "logger" not in made["settings"]
    numbers, step = found["log"]
    assert step == 5
    assert "evaluate/three/accuracy/when" in numbers
    assert numbers["evaluate/three/prefill_ms"] > 0
    assert found["facts"][0]["evaluate/three/protocol"] == report.protocol.short
    tables, pictures = found["show"]
    assert [row["key"] for row in tables["answers"]] == [item.key for item in report.graded]
    assert tables["answers"][0]["frames"].read_bytes()[:2] == b"\xff\xd8"
    kinds = {row["value"]: row for row in tables["by_kind"] if row["by"] == "kind"}
    assert {name: row["questions"] for name, row in kinds.items()} == {
        name: own.total for name, own in report.kinds.items()
    }
    assert all(kinds[name]["score"] == own.share for name, own in report.kinds.items())
    assert pictures == {"picture": run / "evaluate" / "three.png"}
    assert found["finish"] == (0,)


def test_mistakes(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean made"):
        evaluated(made, run="mades")
    with pytest.raises(CheckpointError, match="choose one of: last, 10, 20"):
        evaluated(made, checkpoint="30")
    with pytest.raises(DataError, match="city"):
        evaluated(made, benchmark=ThreeConfig(broken=True), resume=False)


def test_results_that_cannot_be_written(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vxl.evaluate.keep.write_json", full)
    with pytest.raises(CheckpointError, match="can't be written: the disk is full"):
        evaluated(made)


def test_a_benchmark_with_bad_or_without_questions_is_refused() -> None:
    three = Three(ThreeConfig(), data={}, cache=Path())
    three.known_bad = lambda: [BadSample("s.tar", "k7", "0 frames")]  # type: ignore[method-assign]
    with pytest.raises(DataError, match=r"1 samples can't be used\.\n  the first: k7 in s\.tar: 0 frames"):
        numbers(three, "three")
    three = Three(ThreeConfig(), data={}, cache=Path())
    three.record = lambda number: Sample("k")  # type: ignore[method-assign]
    with pytest.raises(DataError, match="benchmark=three holds 4 samples, but no question with options"):
        numbers(three, "three")
