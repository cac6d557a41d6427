"""What a run that is finished says to type next."""

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from vxl.config.compose import compose
from vxl.run.result import Result
from vxl.run.typing_next import followed
from vxl.train.report.messages import next_command, say_finished

OWN = "next:  python evaluate.py run=a benchmark=json benchmark.json=HELD_OUT.json benchmark.videos=FOLDER"
HELD_OUT = "held-out numbers while it trains:  data.val=…\n"
JSON = ["data=json", "data.json=mine.json", "data.videos=."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "next:  python evaluate.py run=a benchmark=clips"),
        (["data=long"], "next:  python evaluate.py run=a benchmark=long"),
        (JSON, HELD_OUT + OWN),
        ([*JSON, "data.val=val.json"], OWN),
        (["data=shards", "data.train=[a.tar]", "data.val=[b.tar]"], OWN),
    ],
)
def test_what_was_trained_on_ones_own_data_is_not_sent_to_the_toy_clips(words: list[str], said: str) -> None:
    assert next_command(compose("train", ["model=tiny", "name=a", *words])) == said


def test_the_next_command_finds_the_run_again_and_a_member_has_none() -> None:
    config = compose("train", ["model=tiny", "name=a", "paths.runs='/my data'"])
    assert next_command(config) == ("next:  python evaluate.py run=a benchmark=clips 'paths.runs=/my data'")
    assert next_command(dataclasses.replace(config, sweep_name="s", sweep_member="seed=1")) == ""


def test_a_reconstruction_goes_on_with_the_projector() -> None:
    said = next_command(compose("train", ["model=tiny", "name=a", "stage=dts_reconstruct", *JSON]))
    assert said.endswith("next:  python train.py model=tiny init_from=a stage=align")


def test_a_stage_that_others_follow_says_nothing_to_type_and_what_explains_its_numbers() -> None:
    words = ["model=tiny", "name=a/b"]
    with followed():
        assert next_command(compose("train", words)) == ""
        assert next_command(compose("train", [*words, "stage=dts_reconstruct"])).startswith("baseline: ")
        assert "next:" not in next_command(compose("train", [*words, "stage=dts_reconstruct"]))


@pytest.mark.parametrize(("sweep", "by_more", "lines"), [("s", False, 1), (None, True, 1), (None, False, 12)])
def test_a_finished_member_of_a_sweep_or_stage_of_a_recipe_is_a_line(
    sweep: str | None, by_more: bool, lines: int, tmp_path: Path
) -> None:
    numbers = {"loss_first": 8.0, "loss_last": 1.0, "seconds": 1.0, "parameters": 9, "trained_parameters": 9}
    known = {"name": "a", "directory": "runs/a", "steps": 3, "samples": 6, **numbers}
    result = Result(**{field.name: known.get(field.name) for field in dataclasses.fields(Result)})
    directory: Any = SimpleNamespace(path=tmp_path, result=tmp_path / "RESULT.json")
    result.write(directory.result)
    console = Console(file=io.StringIO(), width=100)
    words = [] if sweep is None else [f"sweep_name={sweep}"]
    with followed(by_more):
        assert say_finished(directory, compose("train", ["model=tiny", "name=a", *words]), console) == result
    said = console.file.getvalue().splitlines()
    assert f"{tmp_path} is finished (3 steps); nothing to do." in said
    assert len(said) == 1 if lines == 1 else len(said) >= lines
