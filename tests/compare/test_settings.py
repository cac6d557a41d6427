import csv
import io
import json
from pathlib import Path
from statistics import stdev

import pytest
from rich.console import Console

from tests.compare.sweeps import evaluate, write_run, write_sweep
from vxl.compare.comparison import Comparison, compare
from vxl.compare.disagreement import disagreements
from vxl.compare.fairness import warnings
from vxl.compare.page.glossary import glossary
from vxl.compare.page.page import render
from vxl.compare.setting import Setting
from vxl.compare.terminal import show_comparison
from vxl.compare.words import sentences
from vxl.compare.write import as_csv, as_json
from vxl.errors import ConfigError
from vxl.run.find import find_members
from vxl.statistics.clustered import quantile


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ratios from three seeds, each evaluated as trained and under a policy."""
    root = tmp_path_factory.mktemp("runs")
    write_sweep(root, "s", 6, questions=90)
    return root


@pytest.fixture(scope="module")
def found(root: Path) -> Comparison:
    return compare(find_members("s", root), title="s")


def test_an_evaluation_under_changed_parts_is_a_member_of_its_own(found: Comparison) -> None:
    assert len(found.members) == 12
    assert found.keys == ["compressor.ratio", "seed", "kv", "kv.keep"]
    assert found.members[1].name == "ratio=1,seed=0 kv=snapkv keep=0.5"
    assert [m.differences["kv"] for m in found.members[:2]] == ["full", "snapkv"]
    assert [m.differences["kv.keep"] for m in found.members[:2]] == ["-", "0.5"]


def test_seeds_of_one_setting_are_one_score_with_both_errors(found: Comparison) -> None:
    assert [setting.name for setting in found.settings] == [
        "ratio=1 kv=full",
        "ratio=1 kv=snapkv keep=0.5",
        "ratio=2 kv=full",
        "ratio=2 kv=snapkv keep=0.5",
    ]
    own = found.settings[2].reached("clips")
    assert own is not None
    means = [member.scores["clips"].mean for member in found.settings[2].members]
    assert own.mean == pytest.approx(sum(means) / 3)
    assert own.seeds.count == 3
    assert own.interval is not None
    assert own.of_questions is not None
    assert own.interval.high - own.interval.low > own.of_questions.high - own.of_questions.low


def test_the_base_is_the_first_or_the_one_that_is_named(found: Comparison, root: Path) -> None:
    assert found.base is found.settings[0]
    named = compare(find_members("s", root), base="ratio=2 kv=full")
    assert named.base is named.settings[2]
    assert compare(find_members("s", root), base="ratio=2").base is not None
    with pytest.raises(ConfigError, match="did you mean ratio=2 kv=full"):
        compare(find_members("s", root), base="ratio=2 kv=ful")


def test_evaluations_of_the_same_trainings_are_paired_by_training(found: Comparison) -> None:
    base, changed, other, _ = found.settings
    pair, apart = found.pair("clips", changed), found.pair("clips", other)
    assert pair is not None
    assert apart is not None
    assert pair.test is not None
    assert apart.test is not None
    assert pair.interval is not None
    assert apart.interval is not None

    videos = pair.test.estimate.clusters

    def scores(setting: Setting) -> list[float]:
        return [member.scores["clips"].mean for member in setting.members]

    def half(se: float, spreads: list[float]) -> float:
        """Of the interval: variances add up, with Welch and Satterthwaite's degrees of freedom."""
        errors = [(se, videos - 1), *((sd / 3**0.5, 2.0) for sd in spreads)]
        variance = sum(error**2 for error, _ in errors)
        freedom = variance**2 / sum(error**4 / own for error, own in errors)
        return quantile(freedom + 1) * variance**0.5

    differences = [b - a for a, b in zip(scores(base), scores(changed), strict=True)]
    assert pair.test.estimate.se is not None
    assert apart.test.estimate.se is not None
    assert (pair.interval.high - pair.interval.low) / 2 == pytest.approx(
        half(pair.test.estimate.se, [stdev(differences)])
    )
    assert (apart.interval.high - apart.interval.low) / 2 == pytest.approx(
        half(apart.test.estimate.se, [stdev(scores(base)), stdev(scores(other))])
    )


def test_holm_is_over_all_benchmarks_together(found: Comparison) -> None:
    tested = [pair for pair in found.pairs if pair.test is not None]
    assert {pair.benchmark for pair in tested} == {"clips", "needle"}
    least = min(tested, key=lambda pair: pair.p_value)
    assert least.adjusted == pytest.approx(min(1.0, len(tested) * least.p_value))


def test_terminal_json_csv_and_page_have_the_same_numbers(found: Comparison) -> None:
    console = Console(width=300, record=True, file=io.StringIO())
    show_comparison(found, console)
    terminal = console.export_text()
    written = json.loads(as_json(found))
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [row["run"] for row in rows] == [member["run"] for member in written["members"]]
    for member, row in zip(found.members, rows, strict=True):
        score = member.scores["clips"]
        assert float(row["clips"]) == score.mean
        assert score.interval is not None
        assert (float(row["clips low"]), float(row["clips high"])) == score.interval
        assert score.text(score.mean) in terminal
    for pair, plain in zip(found.pairs, written["differences"], strict=True):
        assert pair.test is not None
        assert plain["p_holm"] == pair.adjusted
        assert f"{100 * pair.test.estimate.mean:+.1f} points against {pair.base.name}" in terminal


def test_the_sentence_names_the_best_by_how_much_and_the_cost(root: Path) -> None:
    said = sentences(compare(find_members("s", root), base="ratio=2 kv=snapkv keep=0.5"))
    clips = str(said[0])
    assert clips.startswith("clips: ratio=1 kv=full answers best, ")
    assert "points against ratio=2 kv=snapkv keep=0.5 (95 %: " in clips
    assert "cache 1.00 MiB instead of 0.500 MiB" in clips


def test_what_is_unfair_is_said(tmp_path: Path) -> None:
    for ratio, steps in ((1, 20), (2, 40)):
        run = tmp_path / "s" / f"ratio={ratio},seed=0"
        write_run(run, ratio, 0, 0, "", steps)
        evaluate(run, "clips", "", 0.8, 60, seed=ratio, ratio=ratio, preset=str(ratio))
    (tmp_path / "s/ratio=4,seed=0").mkdir()
    (tmp_path / "s/ratio=4,seed=0/FAILED.json").write_text('{"error": "out of memory"}')
    said = "\n".join(warnings(compare(find_members("s", tmp_path))))
    assert "not finished: ratio=4,seed=0 (failed)" in said
    assert "ratio=2 max_steps=40, another protocol: preset" in said
    assert "optimizer steps from 20 to 40" in said
    assert "clips: few questions (60)" in said
    assert "one seed" in said


def test_a_fair_comparison_is_not_called_unfair(found: Comparison) -> None:
    said = "\n".join(warnings(found))
    assert "budget" not in said
    assert "one seed" not in said
    assert "not finished" not in said


def test_questions_on_which_members_part_come_with_frames_and_what_was_kept(found: Comparison) -> None:
    asked = disagreements(found, "clips")
    first = asked[0]
    assert abs(first.right / first.asked - 0.5) <= abs(asked[-1].right / asked[-1].asked - 0.5)
    assert first.asked == 12
    assert first.frames is not None
    assert first.frames.read_bytes()[:2] == b"\xff\xd8"
    assert [kept.shares for kept in first.kept] == [(1.0, 0.25, 0.5, 0.0)] * 2
    assert "snapkv" in first.kept[0].member
    assert [text for letter, text, right in first.options if right] == ["a cat"]


def test_many_members_are_a_row_a_setting_on_the_terminal(tmp_path: Path) -> None:
    write_sweep(tmp_path, "s", 30, questions=9)
    shown = Console(file=io.StringIO(), width=80, record=True, force_terminal=True)
    show_comparison(compare(find_members("s", tmp_path), title="s"), shown)
    text = shown.export_text()
    assert "s: 60 members in 20 settings" in text
    assert "mean ± sd" not in text  # every row is one
    assert max(map(len, text.splitlines())) <= 80
    (tmp_path / "s" / "ratio=4,seed=1" / "RESULT.json").unlink()
    shown = Console(file=io.StringIO(), width=200, record=True)
    show_comparison(compare(find_members("s", tmp_path), title="s"), shown)
    assert "stopped, step 20" in shown.export_text()


def test_a_winner_that_may_be_one_by_chance_is_not_called_best(tmp_path: Path) -> None:
    for name, share in (("ratio=4,seed=0", 0.5), ("ratio=16,seed=0", 0.55)):
        ratio = int(name.partition(",")[0].partition("=")[2])
        write_run(tmp_path / "s" / name, ratio, 0, 0, "", 20)
        evaluate(tmp_path / "s" / name, "clips", "", share, 30, seed=ratio, ratio=ratio)
    found = compare(find_members("s", tmp_path))
    (sentence,) = sentences(found)
    (pair,) = found.pairs
    assert pair.test is not None
    assert pair.test.estimate.mean > 0
    assert not pair.shown
    assert sentence.headline.startswith("clips: nothing is shown to beat ratio=4; highest is ratio=16, ")
    assert "instead of" in sentence.details


def test_costs_that_are_the_same_for_all_are_said_once(found: Comparison) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    show_comparison(found, console)
    text = console.export_text()
    assert "the same for all: clips decode tok/s 2000.0, " in text
    assert "steps 20" in text
    assert text.count("decode tok/s") == 2  # and the column of needle, which not all were asked
    assert {"clips cache", "needle cache"} <= {column.name for column in found.varying}


def test_the_same_score_on_every_question_is_said_as_that(tmp_path: Path) -> None:
    for change in ("", "kv=snapkv"):
        for seed in range(2):
            run = tmp_path / "s" / f"ratio=4,seed={seed}"
            if not change:
                write_run(run, 4, seed, 0, "", 20)
            evaluate(run, "clips", change, 0.7, 30, seed=seed, ratio=4)
    for run in sorted((tmp_path / "s").iterdir()):  # the same answers under both
        own = json.loads((run / "evaluate/clips.json").read_text())
        file = run / "evaluate/kv=snapkv/clips.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"answers": own["answers"]}))
        metrics = {name: own[name] for name in ("metrics", "accuracy")}
        file.write_text(json.dumps(json.loads(file.read_text()) | metrics))
    same = compare(find_members("s", tmp_path))
    (pair,) = same.pairs
    assert pair.identical
    console = Console(width=200, record=True, file=io.StringIO())
    show_comparison(same, console)
    text = console.export_text()
    assert "clips: kv=snapkv has the same score as kv=full on every question" in text
    assert "+0.0" not in text
    page = render(same, tmp_path / "page.html")
    assert "same on every question" in page
    assert "+0.0" not in page[: page.index("<footer>")]


def test_the_keys_that_differ_are_explained(found: Comparison) -> None:
    said = dict(glossary(found))
    assert said["kv=snapkv"].startswith("The entries stay that the question's last tokens attend to most")
    assert said["kv.keep"].startswith("Budget as a fraction")
    assert said["seed"].startswith("Seed of all randomness")
