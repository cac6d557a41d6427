"""Runs from Python: rows of runs and of a comparison, and the words that a training takes."""

import json
from pathlib import Path

import pytest
import yaml

import vxl
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.option.rebuild import plain


def run(folder: Path, ratio: int, loss: float) -> None:
    config = compose("train", ["model=tiny", "trainer=cpu", f"compressor.ratio={ratio}"])
    place = folder / "s" / f"ratio={ratio}"
    place.mkdir(parents=True)
    (place / "resolved.yaml").write_text(yaml.safe_dump(plain(config)))
    (place / "RESULT.json").write_text(json.dumps({"loss_last": loss, "steps": 400}))


def test_rows_of_runs_and_of_a_comparison(tmp_path: Path) -> None:
    run(tmp_path, 4, 0.5)
    run(tmp_path, 16, 0.25)
    (tmp_path / "looked").mkdir()
    (tmp_path / "looked" / "resolved.yaml").write_text("{}")  # a preview is no run
    rows = vxl.list_runs(tmp_path)
    assert sorted((row["run"], row["status"]) for row in rows) == [
        ("s/ratio=16", "finished"),
        ("s/ratio=4", "finished"),
    ]
    compared = vxl.compare_runs("s", folder=tmp_path)
    assert [(row["compressor.ratio"], row["loss"]) for row in compared] == [("4", 0.5), ("16", 0.25)]
    with pytest.raises(ConfigError, match="there is no run"):
        vxl.compare_runs("t", folder=tmp_path)


def test_words_are_those_of_the_command_line() -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        vxl.train_run("trainer.max_step=3")
    with pytest.raises(ConfigError, match="weights=random"):
        vxl.train_run("model=videoxl2")
    assert {"train_run", "evaluate_run", "list_runs", "compare_runs"} <= set(dir(vxl))


@pytest.mark.parametrize(
    ("word", "asked"),
    [
        ("recipe=videoxl2", "recipe="),
        ("cluster=local", "cluster="),
        ("dry_run=true", "dry_run=true"),
        ("debug=replay", "debug=replay"),
    ],
)
def test_what_is_no_training_of_one_run_here_is_refused(word: str, asked: str) -> None:
    typed = rf"\n  type  python train\.py size=tiny {word}$"
    with pytest.raises(ConfigError, match=rf"^{asked}: train_run trains one run, here and now; .*{typed}"):
        vxl.train_run("size=tiny", word)


def test_a_list_where_texts_are_expected_is_refused_with_what_to_type() -> None:
    for call in (vxl.train_run, vxl.evaluate_run, vxl.compare_runs):
        with pytest.raises(ConfigError, match=rf"vxl\.{call.__name__}\(\*WORDS\)"):
            call(["name=first", "seed=1"])  # type: ignore[arg-type]
