"""What a user types, on fixtures and a tiny model."""

import json
import sys
from pathlib import Path

import pytest

from tests.run_directories import CLIP, finish, make_run
from vxl.checkpoint.convert import export_weights
from vxl.config.command import run_command
from vxl.config.evaluation import prepare
from vxl.errors import ConfigError


def main(config: object, composed: str) -> None:
    from vxl.evaluate.run import run_evaluation

    run_evaluation(config)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("command")
    small = "video.max_frames=4"
    finish(make_run(root / "runs", "first", small, steps=(5,)))
    for ratio in (4, 16):
        run = make_run(
            root / "runs", f"compression-95dbab/ratio={ratio}", small, f"compressor.ratio={ratio}", steps=(5,)
        )
        finish(run)
    options = ["A beach", "Skyscrapers"]
    rows = [
        {
            "id": str(n),
            "video": CLIP.name,
            "question": f"What is shown? {n}",
            "options": options,
            "answer": "B",
        }
        for n in range(3)
    ]
    rows.append({"id": "open", "video": CLIP.name, "question": "What is shown?", "answer": "towers"})
    (root / "held_out.json").write_text(json.dumps(rows))
    return root


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    monkeypatch.setenv("COLUMNS", "80")


def typed(place: Path, *words: str) -> int:
    where = (
        f"paths.runs={place / 'runs'}",
        f"paths.cache={place / 'cache'}",
        "device=cpu",
        "max_new_tokens=8",
    )
    return run_command("evaluate", main, [*words, *where])


def own(place: Path) -> tuple[str, ...]:
    return ("benchmark=json", f"benchmark.json={place / 'held_out.json'}", f"benchmark.videos={CLIP.parent}")


NEEDLE = ("benchmark.minutes=[5]", "benchmark.depths=[0,100]", "benchmark.needles=1")


def test_ones_own_questions_with_options_or_open(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(place, "run=first", *own(place)) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.replace(str(place), "").splitlines())) <= 110
    written = json.loads((place / "runs/first/evaluate/json.json").read_text())
    assert [answer["key"] for answer in written["answers"]] == ["0", "1", "2", "open"]
    assert len(written["protocol"]["hash"]) == 8
    assert written["protocol"]["answering"]["preset"] == "vxl"


def test_an_exported_folder_answers_as_its_run(place: Path) -> None:
    out = place / "exported"
    export_weights("first", out, False, "last", place / "runs")
    assert typed(place, "run=first", *own(place)) == 0
    assert typed(place, f"weights={out}", *own(place)) == 0
    (written,) = (place / "runs/weights").glob("exported-*/evaluate/json.json")
    found, expected = (
        json.loads(path.read_text()) for path in (written, place / "runs/first/evaluate/json.json")
    )
    assert found["answers"] == expected["answers"]
    assert found["run"] == "exported"
    assert found["protocol"]["answering"]["checkpoint"] != expected["protocol"]["answering"]["checkpoint"]


def test_a_part_changed_at_evaluation(place: Path) -> None:
    words = ("kv=snapkv", "kv.of=visual", "kv.keep=0.25", "prefill=chunked")
    assert typed(place, "run=first", "benchmark=needle", *NEEDLE, *words) == 0
    folder = place / "runs/first/evaluate" / "kv=snapkv,prefill=chunked,kv.of=visual,kv.keep=0.25"
    written = json.loads((folder / "needle.json").read_text())
    assert len(written["answers"]) == 2
    assert (folder / "needle.png").exists()


def test_a_sweep_of_runs_is_one_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(place, "run=compression-95dbab", *own(place)) == 0
    shown = capsys.readouterr().out
    assert "ratio=16: " in shown
    assert (place / "runs/compression-95dbab/evaluate/group-json.json").exists()


def test_a_sweep_of_policies(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(place, "run=first", *own(place), "+sweep=prefill") == 0
    shown = capsys.readouterr().out
    assert "prefill=full" in shown
    assert "prefill=chunked: the same score as prefill=full on every question" in shown
    assert typed(place, "run=first", *own(place), "sweep=polices") == 2
    assert "sweeps: policies, frames, prefill" in capsys.readouterr().err


def test_several_benchmarks(place: Path) -> None:
    words = ("benchmark=[json,json]", *own(place)[1:])
    assert typed(place, "run=first", *words) == 0


def test_mistakes_say_what_to_type(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (("benchmark=mlvu", "run=first"), "benchmark.annotations=FILE_OR_FOLDER"),
        (("benchmark=json",), "run=NAME         a run or a sweep"),
        (("run=firs", *own(place)), "did you mean first"),
        (("run=first", "benchmark=mlvuu"), "mlvu"),
        (("run=first", *own(place), "compressor.ratio=8"), "another ratio is another model"),
        (("run=first", *own(place), "kv=snapky"), "did you mean kv=snapkv"),
        (("weights=/nowhere", *own(place)), "no folder of weights"),
    ):
        assert typed(place, *words) == 2, words
        assert message in capsys.readouterr().err


def test_words_become_changes() -> None:
    (line,) = prepare(["run=a", "kv=snapkv", "kv.keep=0.5,0.25", "+sweep=policies", "benchmark=needle"])
    assert line == [
        "benchmark=needle",
        "run=a",
        "members=policies",
        "change=['kv=snapkv','kv.keep=0.5,0.25']",
    ]
    assert [words[0] for words in prepare(["benchmark=[clips,needle]", "run=a"])] == [
        "benchmark=clips",
        "benchmark=needle",
    ]
    with pytest.raises(ConfigError, match="without -m"):
        prepare(["-m", "run=a"])


PLUGIN = '''
from dataclasses import dataclass
from pathlib import Path

from vxl.evaluate.benchmark import Benchmark, BenchmarkConfig
from vxl.evaluate.item import BenchmarkItem
from vxl.generate.loaded import Clip


@dataclass(frozen=True, kw_only=True)
class MineConfig(BenchmarkConfig):
    """One question."""

    _target_: str = "lab_of_mine.Mine"
    video: str = ""
    """Its video."""


class Mine(Benchmark):
    """One question about one video."""

    name = "mine"

    def __init__(self, config: MineConfig, *, data: dict, cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def items(self):
        return [
            BenchmarkItem(
                key="q", video="v", cluster="v", kind="what", question="What?", options=("x", "y"), gold="A"
            )
        ]

    def looks(self, item):
        return [Clip(self.config.video)]
'''


def test_a_plug_in_brings_a_benchmark(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lab_of_mine"
    (package / "conf" / "benchmark").mkdir(parents=True)
    (package / "__init__.py").write_text(PLUGIN)
    (package / "conf" / "benchmark" / "mine.yaml").write_text("_target_: lab_of_mine.Mine\nvideo: ''\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("plugins=[lab_of_mine]", "benchmark=mine", f"benchmark.video={CLIP}")
    assert typed(place, "run=first", *words) == 0
    written = json.loads((place / "runs/first/evaluate/mine.json").read_text())
    assert [answer["key"] for answer in written["answers"]] == ["q"]


def test_slurm_gets_an_array_of_workers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = []
    monkeypatch.setattr(
        "vxl.evaluate.work.workers.Slurm.carry_out", lambda self, order, console: submitted.append(order)
    )
    assert typed(place, "run=first", *own(place), "cluster=slurm", "workers=3", "cluster.minutes=10") == 0
    (order,) = submitted
    assert "without cluster= shows it" in order.after  # there is no run to compare
    assert len(order.requests) == 3
    for request in order.requests:
        assert not any(word.startswith(("cluster", "workers")) for word in request.words)
        assert "run=first" in request.words
    assert order.requests[0].trainer.accelerator == "cpu"
