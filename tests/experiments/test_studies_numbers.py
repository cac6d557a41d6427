"""What the studies compute, against arithmetic by hand."""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t
from studies import against, baseline_lines, interval_text, kept, points
from studies.asked import settings
from studies.base import CPU, SMALL
from studies.baselines import baseline_rows, not_learned
from studies.member import Member, seeds
from studies.study import (
    compare,
    main,
    of_one_more,
    provenance,
    recorded_numbers,
    repeatable,
    with_results,
    written,
)

from tests.experiments.studies_read import NAMES, setting, study

NINE, SIX = [1.0] * 9 + [0.0] * 3, [1.0] * 6 + [0.0] * 6


def test_accuracy_over_seeds_and_questions() -> None:
    """Two seeds at 9 and 6 of 12: questions have scores 1 (6), 1/2 (3), 0 (3)."""
    row = setting("full", [NINE, SIX]).plain()
    assert row["accuracy"] == 7.5 / 12
    assert row["seeds"] == {"0": 0.75, "1": 0.5}
    squares = 6 * (1 - 0.625) ** 2 + 3 * (0.5 - 0.625) ** 2 + 3 * 0.625**2
    of_questions, of_seeds = squares / (12 * 11), (0.25**2 / 2) / 2
    freedom = (of_questions + of_seeds) ** 2 / (of_questions**2 / 11 + of_seeds**2)
    half = t.ppf(0.975, freedom) * math.sqrt(of_questions + of_seeds)
    low, high = row["interval"]
    assert (low, high) == (pytest.approx(max(0, 0.625 - half)), pytest.approx(min(1, 0.625 + half)))


def test_difference_of_one_seed_is_that_of_the_questions() -> None:
    """Three of twelve questions lost: mean -1/4, variance 9/4 / (12 x 11)."""
    found = against(setting("full", [NINE]), setting("pool", [SIX]))
    half = t.ppf(0.975, 11) * math.sqrt((3 * 0.75**2 + 9 * 0.25**2) / (12 * 11))
    assert found["difference"] == -0.25
    assert found["difference_interval"] == [pytest.approx(-0.25 - half), pytest.approx(-0.25 + half)]


def test_seeds_of_the_same_trainings_are_paired() -> None:
    """Two seeds that lie far apart and lose the same each: their spread adds nothing to the difference."""
    low, high = [1.0] * 4 + [0.0] * 8, [1.0] * 10 + [0.0] * 2
    less = [[0.0, *one[1:]] for one in (low, high)]
    same = against(setting("full", [low, high]), setting("full", less, variant="kv=recent"))
    other = against(setting("full", [low, high]), setting("pool", less))
    assert same["difference"] == other["difference"] == pytest.approx(-1 / 12)
    widths = [one["difference_interval"][1] - one["difference_interval"][0] for one in (same, other)]
    assert widths[0] < widths[1] / 4


def test_what_is_kept_is_a_share_of_what_lies_above_chance() -> None:
    """(6/12 - 1/4) / (9/12 - 1/4) = 1/2; Fieller's ends are the roots of a quadratic."""
    found = kept(setting("full", [NINE]), setting("pool", [SIX]))
    assert found["kept"] == pytest.approx(0.5)
    # Per question r takes 1 - r six times, -r three times, 0 three times: their squared deviations add up to
    # 3 - 3 r + 9/4 r², and (1/4 - r/2)² = t² (3 - 3 r + 9/4 r²) / (12 x 11) at the ends.
    scale = t.ppf(0.975, 11) ** 2 / (12 * 11)
    roots = np.roots([0.25 - 2.25 * scale, -0.25 + 3 * scale, 0.0625 - 3 * scale])
    assert found["kept_interval"] == pytest.approx(sorted(roots), abs=1e-6)


def test_seeds_that_lie_apart_widen_what_may_be_kept() -> None:
    """At an end r, `other - r * base` is as far from 0 as the errors of questions and seeds allow."""
    base, other = [NINE, [1.0, *NINE[1:9], 1.0, 0.0, 0.0]], [SIX, [0.0, *SIX[1:]]]
    found = kept(setting("full", base), setting("pool", other))
    assert found["kept"] == pytest.approx((5.5 / 12 - 0.25) / (9.5 / 12 - 0.25))
    for r in found["kept_interval"]:
        parted = np.mean(other, 0) - 0.25 - r * (np.mean(base, 0) - 0.25)
        of_questions = np.var(parted) / 11
        of_base, of_other = np.var(r * np.mean(base, 1), ddof=1) / 2, np.var(np.mean(other, 1), ddof=1) / 2
        errors = of_questions + of_base + of_other
        freedom = errors**2 / (of_questions**2 / 11 + of_base**2 + of_other**2)
        assert abs(parted.mean()) == pytest.approx(t.ppf(0.975, freedom) * math.sqrt(errors), abs=1e-6)


def test_all_is_kept_by_who_answers_alike() -> None:
    found = kept(setting("full", [NINE, NINE]), setting("full", [NINE, NINE], variant="kv=recent"))
    assert found["kept"] == 1
    assert found["kept_interval"] == pytest.approx([1, 1], abs=1e-6)


def test_nothing_is_kept_of_what_is_not_above_chance() -> None:
    at_chance = [1.0] * 4 + [0.0] * 8
    assert kept(setting("full", [at_chance]), setting("pool", [SIX])) == {"kept": None, "kept_interval": None}
    assert "not shown to be above chance (33.3 %" in str(
        not_learned(setting("full", [at_chance]).plain(), "it")
    )
    assert not_learned(setting("full", [NINE]).plain(), "it") is None


def test_few_videos_have_no_interval() -> None:
    row = setting("full", [[1.0, 0.0]]).plain()
    assert row["interval"] is None
    assert "too few videos" in str(not_learned(row, "it"))
    assert kept(setting("full", [[1.0, 0.0]]), setting("pool", [[1.0, 0.0]]))["kept"] is None


def test_unequal_budgets_are_not_compared() -> None:
    """64 tokens at ratio 4 are 16; of VST's 64 a fourth stays."""
    rows = study("010_compression").rows
    equal = {
        ("full", ""): setting("full", [NINE], tokens=64),
        ("pool_4", ""): setting("pool_4", [SIX], tokens=16),
        ("vst_4", ""): setting("vst_4", [SIX], tokens=64),
    }
    assert [row["tokens"] for row in rows(equal, CPU)] == [64, 16, 16]
    with pytest.raises(SystemExit, match="pool_4 answered from 17 visual tokens, and is compared at 16"):
        rows(equal | {("pool_4", ""): setting("pool_4", [SIX], tokens=17)}, CPU)


def test_methods_at_a_ratio_have_the_tokens_of_as_few_frames() -> None:
    by_name = {member.name: member.words for member in study("010_compression").members(SMALL)}
    for ratio, name in ((4, "fewer_4"), (16, "single_frame")):
        frames = SMALL.frames // ratio
        assert f"video.max_frames={frames}" in by_name[name]
        assert SMALL.tokens / SMALL.frames * frames == SMALL.tokens / ratio


def test_baselines_stand_in_the_table() -> None:
    found = {
        ("full", "blind"): setting("full", [SIX], variant="blind"),
        ("single_frame", ""): setting("single_frame", [NINE]),
    }
    numbers = baseline_rows(found)
    assert numbers["chance"] == 0.25
    lines = baseline_lines(numbers, columns=3, place=1)
    assert [line.split(" |")[0] for line in lines] == [
        "| chance",
        "| blind: asked without the video",
        "| a single frame",
    ]
    assert lines[0] == "| chance | 25.0 |  |"
    with pytest.raises(SystemExit, match="unlike questions"):
        baseline_rows(found | {("full", ""): setting("full", [NINE], chance=0.5)})


def report(path: Path, right: list[int], member: str = "") -> None:
    """A report as an evaluation leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = [
        {"key": f"q{n}", "cluster": f"v{n}", "kind": "what", "right": bool(one)}
        for n, one in enumerate(right)
    ]
    accuracy = {"accuracy": sum(right) / len(right), "chance": 0.25, "questions": len(right)}
    path.write_text(json.dumps({"member": member, "accuracy": accuracy, "answers": answers}))


def test_a_study_reads_what_its_members_were_asked_and_nothing_else(tmp_path: Path) -> None:
    """Another study's variants lie in the folders of the same runs; a member may stand there twice."""
    for seed, right in ((0, [1, 0]), (1, [1, 1])):
        evaluate = tmp_path / f"full_{seed}" / "evaluate"
        report(evaluate / "long.json", right)
        report(evaluate / "long.blind.json", [0, 0])
        report(evaluate / "kv=recent,kv.keep=0.5" / "long.json", [0, 1])
    members = [Member("full", seed=seed, asked=("", "blind=true")) for seed in (0, 1)]
    found = settings([*members, *members, Member("full", seed=2)], tmp_path, "long")
    assert found.keys() == {("full", ""), ("full", "blind")}
    assert found["full", ""].accuracies == [0.5, 1.0]
    assert found["full", ""].numbers == (0, 1)
    assert found["full", "blind"].accuracies == [0.0, 0.0]


def test_where_numbers_come_from_after_a_run_went_on(tmp_path: Path) -> None:
    """Sessions as vxl.run.provenance writes them: nothing is written twice."""
    first = {
        "hardware": {"gpus": [], "processor": "one"},
        "git": {"commit": "abc"},
        "packages": {"torch": "2.13.0", "transformers": "5.23"},
    }
    second = first | {"git": None, "packages": "as in the first session"}
    third = first | {"git": "as in the first session"}
    (tmp_path / "full_0").mkdir()
    (tmp_path / "full_0" / "provenance.json").write_text(json.dumps({"sessions": [first, second, third]}))
    found = provenance([Member("full"), Member("full", seed=1)], CPU, tmp_path)
    assert found["torch"] == ["2.13.0"]
    assert found["commits"] == ["abc", "unknown"]
    assert found["processors"] == ["one"]


def test_a_repetition_is_inside_or_outside(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "full", "variant": "", "seeds": {"0": 0.5}, "interval": [0.4, 0.6]}]
    recorded = {"rows": rows, "baselines": {}}
    assert compare(recorded, {("full", ""): setting("full", [SIX])}, 0)
    assert (
        "full, seed 0: 50.0 % (recorded 50.0 %), inside the interval 40.0 to 60.0" in capsys.readouterr().out
    )
    assert not compare(recorded, {("full", ""): setting("full", [NINE])}, 0)
    assert "75.0 % (recorded 50.0 %), OUTSIDE" in capsys.readouterr().out
    assert not compare(recorded, {("pool", ""): setting("pool", [NINE])}, 0)
    assert "nothing was repeated" in capsys.readouterr().out


def test_one_more_run_lies_further_out_than_the_mean() -> None:
    """Seeds at 40, 50 and 60 %: s = 0.1, and t at two degrees of freedom is 4.303."""
    half = t.ppf(0.975, 2) * 0.1 * math.sqrt(4 / 3)
    seeds_apart = {"0": 0.4, "1": 0.5, "2": 0.6}
    row = {"accuracy": 0.5, "interval": [0.25, 0.75], "seeds": seeds_apart}
    assert of_one_more(row) == pytest.approx([0.5 - half, 0.5 + half])
    assert of_one_more(row | {"seeds": {"0": 0.5, "1": 0.5}}) == [0.25, 0.75]  # alike by chance
    assert of_one_more(row | {"seeds": {"0": 0.5}}) == [0.25, 0.75]
    assert of_one_more(row | {"seeds": {"0": 0.1, "1": 0.9}}) == [0.0, 1.0]


def test_only_what_is_recorded_can_be_repeated(tmp_path: Path) -> None:
    asked = argparse.Namespace(out=tmp_path, repeat=3, runs=tmp_path)
    with pytest.raises(SystemExit, match="nothing was recorded"):
        recorded_numbers(study("010_compression"), SMALL, asked)
    (tmp_path / "results.json").write_text(json.dumps({"rows": [{"seeds": {"0": 0.5}}]}))
    with pytest.raises(SystemExit, match="--repeat 3: recorded are the seeds 0"):
        recorded_numbers(study("010_compression"), SMALL, asked)


def test_what_is_not_recorded_is_not_trained_to_be_repeated() -> None:
    members = [*seeds("first", "", asked=()), *seeds("then", "", after="first"), *seeds("never", "")]
    members = [member for member in members if member.seed == 1]
    then = {"name": "then", "seeds": {"0": 0.5, "1": 0.5}}
    recorded = {"rows": [then, {"name": "never", "seeds": {"0": 0.5}}], "baselines": {}}
    assert [member.run for member in repeatable(members, recorded, 1)] == ["first_1", "then_1"]


@pytest.mark.parametrize("name", NAMES)
def test_without_the_yardstick_nothing_is_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--read", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(study(name), typed) == 1
    assert not (tmp_path / "out").exists()
    assert "has not answered yet" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_readmes_results_are_those_of_the_json(name: str) -> None:
    for base in (SMALL, CPU):
        assert base.files is not None
        path = study(name).here / base.files[0]
        if path.exists():
            readme = (study(name).here / "README.md").read_text()
            assert with_results(readme, base, written(study(name), json.loads(path.read_text()))) == readme
            assert f"]({base.files[1]})" in readme


def test_a_readme_keeps_what_is_around_its_results() -> None:
    once = with_results("# Title\n\ntext\n", CPU, ["first"])
    twice = with_results(once + "\nmore\n", CPU, ["second"])
    assert twice == "# Title\n\ntext\n\n<!-- results: cpu -->\nsecond\n<!-- end of results: cpu -->\n\nmore\n"
    both = with_results(twice, SMALL, ["third"])
    assert both.index("second") < both.index("third")


def test_numbers_that_are_not_known_are_not_shown() -> None:
    assert points(None, None) == ""
    assert points(0.5, None) == "50.0"
    assert points(-0.05, [-0.1, 0.0], signed=True) == "-5.0 (-10.0 to +0.0)"
    assert interval_text([0.5, None]) == "50.0 to any"
