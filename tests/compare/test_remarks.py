"""What is said of a comparison that would be believed too easily."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.compare.sweeps import evaluate, write_run
from vxl.compare.comparison import Comparison, compare
from vxl.compare.fairness import warnings
from vxl.compare.page.glossary import glossary
from vxl.compare.terminal import show_comparison
from vxl.compare.words import sentences, why_identical
from vxl.run.find import find_members

SNAPKV = {"_target_": "vxl.kv.snapkv.SnapKV", "keep": 0.5, "tokens": None, "of": "visual", "at": "question"}
RECENT = {"_target_": "vxl.kv.recent.Recent", "keep": 0.5, "tokens": None, "of": "visual", "at": "chunks"}
FULL = {"_target_": "vxl.kv.full.Full"}


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two seeds, of which one guesses, with three policies; one of them answers as the first does."""
    root = tmp_path_factory.mktemp("runs")
    for seed, share in ((0, 0.7), (1, 0.36)):
        run = root / "s" / f"ratio=4,seed={seed}"
        write_run(run, 4, seed, 0, "", 20)
        evaluate(run, "clips", "", share, 90, seed=seed, ratio=4, kv=FULL)
        for change, kv in (("kv=snapkv,kv.of=visual", SNAPKV), ("kv=recent,kv.of=visual", RECENT)):
            evaluate(run, "clips", change, share, 90, seed=seed, ratio=8, kv=kv)
        own = json.loads((run / "evaluate/clips.json").read_text())
        alike = {name: own[name] for name in ("answers", "metrics", "accuracy")}
        edit(run / "evaluate/kv=snapkv,kv.of=visual/clips.json", **alike)
        for place in run.glob("evaluate/**/cost.json"):
            edit(place, first_token_ms=10.0 + 200 * seed)
    return compare(find_members("s", root))


def test_a_key_that_is_the_same_wherever_it_is_names_no_setting(found: Comparison) -> None:
    assert [setting.name for setting in found.settings] == ["kv=full", "kv=recent", "kv=snapkv"]


def test_budgets_are_named_though_they_are_equal(found: Comparison) -> None:
    said = dict(glossary(found))
    assert said["kv.keep=0.5"].startswith("(with recent, snapkv) Budget as a fraction of the watched tokens")
    assert said["kv.of=visual"].startswith("(with recent, snapkv) What `keep` is a fraction of")


def test_the_terminal_names_budgets_and_deviations_have_the_digits_of_their_mean(found: Comparison) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    show_comparison(found, console)
    text = console.export_text()
    assert "with recent, snapkv: kv.keep=0.5, kv.of=visual" in text
    assert "110.0 ± 141.4" in text


def test_no_cheaper_setting_is_named_where_the_base_may_guess(found: Comparison) -> None:
    base = found.settings[0].reached("clips")
    assert base is not None
    assert base.is_at_chance
    (sentence,) = sentences(found)
    assert "(at chance: 25.0 %)" in sentence.headline
    assert "The cheapest" not in sentence.details
    assert "kv=full itself is not shown to be above chance" in sentence.details


def test_the_cheapest_that_is_named_has_its_score_and_chance_beside_it(tmp_path: Path) -> None:
    for ratio in (4, 8):
        run = tmp_path / "s" / f"ratio={ratio},seed=0"
        write_run(run, ratio, 0, 0, "", 20)
        evaluate(run, "clips", "", 0.8, 300, seed=1, ratio=ratio)
    (sentence,) = sentences(compare(find_members("s", tmp_path)))
    cheapest = sentence.details.partition("The cheapest")[2]
    assert "ratio=8, 0.125 MiB of cache instead of 0.250 MiB, with " in cheapest
    assert cheapest.endswith("(chance 25.0 %).")


def test_seeds_that_lie_apart_are_named_with_the_one_that_guesses(found: Comparison) -> None:
    (said,) = [line for line in warnings(found) if "the seeds of" in line]
    assert said.startswith("clips: the seeds of ")
    assert "further apart than the draw of the questions explains" in said
    assert "at chance: ratio=4,seed=1" in said


def test_costs_that_seeds_do_not_share_are_named(found: Comparison) -> None:
    (said,) = [line for line in warnings(found) if line.startswith("costs that differ")]
    assert "time to first token (10.0 ms to 210 ms for kv=full in clips)" in said
    assert "cache" not in said
    assert any(line.startswith("peak memory is that of a whole process") for line in warnings(found))


def test_why_the_score_is_the_same_on_every_question(found: Comparison) -> None:
    why = {pair.other.name: why_identical(pair) for pair in found.pairs}
    assert why["kv=snapkv"] == "it drops after the question was read, and an answer is one letter"
    assert why["kv=recent"] == ""
    assert [line for line in warnings(found) if "settled by then" in line] == [
        "clips: kv=snapkv drops after the question was read, and an answer is one letter, settled by then: "
        "its score says nothing of what it drops"
    ]


def test_what_alone_would_count_is_said(found: Comparison) -> None:
    (pair,) = [pair for pair in found.pairs if pair.other.name == "kv=recent"]
    only = replace(found, pairs=[replace(pair, p_value=0.03, adjusted=0.06)])
    assert pair.test is not None
    by = f"{100 * pair.test.estimate.mean:+.1f}"
    told = f"Shown if it were the only comparison, but not among 1: kv=recent ({by}, p = 0.03)."
    assert told in sentences(only)[0].details
    assert "only comparison" not in sentences(replace(found, pairs=[replace(pair, p_value=0.06)]))[0].details
