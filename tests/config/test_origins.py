"""A large language model of random weights has to be typed."""

from pathlib import Path

import pytest

from vxl.config.check import tokens_for
from vxl.config.command import run_command
from vxl.config.compose import compose
from vxl.config.origins import refuse_untyped_random, with_recipes_model
from vxl.config.sweep import plan_sweep
from vxl.errors import ConfigError
from vxl.option.files import CONF


def test_the_message_names_the_models_own_weights() -> None:
    words = ["model=videoxl2"]
    with pytest.raises(ConfigError) as error:
        refuse_untyped_random(compose("train", words), words)
    assert str(error.value) == (
        "model=videoxl2 has a language model of 7,615,616,512 parameters, and no weights are named.\n"
        "  pretrained:      llm.weights=Qwen/Qwen2.5-7B-Instruct   (a hub name or a folder)\n"
        "  a whole model:   weights=FOLDER   or  init_from=RUN\n"
        "  random weights:  weights=random\n"
        "  in miniature:    size=tiny"
    )


def test_another_language_model_has_other_weights() -> None:
    words = ["model=videoxl2", "llm=smollm2_135m"]
    with pytest.raises(ConfigError, match=r"llm.weights=HuggingFaceTB/SmolLM2-135M-Instruct "):
        refuse_untyped_random(compose("train", words), words)


@pytest.mark.parametrize(
    "words",
    [
        ["model=tiny"],
        ["model=small"],
        ["model=videoxl2", "size=tiny"],
        ["model=videoxl2", "llm=tiny"],
        ["model=videoxl2", "weights=random"],
        ["model=videoxl2", "llm.weights=Qwen/Qwen2.5-7B-Instruct"],
        ["model=videoxl2", "init_from=somewhere"],
        ["model=videoxl2", "dry_run=true"],
        ["model=videoxl2", "stage=dts_reconstruct"],  # has no language model
    ],
)
def test_what_is_said_or_small_passes(words: list[str]) -> None:
    refuse_untyped_random(compose("train", words), words)


@pytest.mark.parametrize("sweep", [[], pytest.param(["+sweep=compression"], marks=pytest.mark.slow)])
def test_a_preview_says_what_the_command_itself_is_refused_for(sweep, capsys) -> None:
    words = ["model=videoxl2", "dry_run=true", *sweep]
    assert run_command("train", lambda config, composed: None, words) == 0
    said = "without dry_run=true this is refused: model=videoxl2 has a language model of 7,615,616,512"
    assert capsys.readouterr().out.count(said) == 1
    assert run_command("train", lambda config, composed: None, [*words, "weights=random"]) == 0
    assert "refused" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (["init_from=nowhere"], "refused: there is no run 'nowhere'"),
        (["weights=nowhere"], "refused: weights=nowhere: neither a run in"),
        (["init_from=nowhere", "seed=1,2"], "refused: there is no run 'nowhere'"),
        (["weights=nowhere", "recipe=small", "size=tiny"], "refused: weights=nowhere: neither a run in"),
    ],
)
def test_a_preview_says_that_the_weights_to_start_from_are_not_there(
    start: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*start, "dry_run=true", "trainer=cpu", f"paths.runs={tmp_path}"]
    assert run_command("train", lambda config, composed: None, words) == 0
    assert capsys.readouterr().out.count(f"without dry_run=true this is {said}") == 1


def test_a_recipe_has_the_model_of_its_name() -> None:
    assert with_recipes_model(["recipe=videoxl2", "seed=1"]) == [
        "recipe=videoxl2",
        "seed=1",
        "model=videoxl2",
    ]
    for words in (
        ["recipe=videoxl2", "model=tiny"],
        ["recipe=own"],
        ["seed=1"],
        ["recipe=videoxl2", "+experiment=x"],
    ):
        assert with_recipes_model(words) == words


def test_a_sweep_at_the_true_size_is_refused_once() -> None:
    with pytest.raises(ConfigError, match="no weights are named"):
        plan_sweep(["model=videoxl2", "+sweep=compression"], False, [CONF])


def test_the_documented_sweep_gives_each_member_room_for_its_videos() -> None:
    """150 frames at ratio 4 are 21,888 visual tokens, more than the 6,000 of the stage's rows."""
    words = ["model=videoxl2", "weights=random", "+sweep=compression"]
    sweep = plan_sweep(words, False, [CONF])
    assert sweep is not None
    assert [[w for w in m if w.startswith("data.max_tokens")] for m in sweep.members] == [
        ["data.max_tokens=24576"],
        [],
        [],
    ]
    typed = plan_sweep([*words, "data.max_tokens=32768"], False, [CONF])
    assert typed is not None
    assert all("data.max_tokens=32768" in member for member in typed.members)


def test_rows_have_room_for_text() -> None:
    assert [tokens_for(visual) for visual in (8, 250, 5472, 21_888)] == [512, 512, 8192, 24_576]
