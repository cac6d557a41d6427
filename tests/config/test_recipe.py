"""Recipes: what each stage is composed of, and a whole one in miniature."""

import os
from pathlib import Path

import pytest

from tests.acceptance.forked import typed
from vxl.config.check_training import check_training
from vxl.config.command import run_command
from vxl.config.compose import checked, compose, compose_yaml
from vxl.config.origins import with_recipes_model
from vxl.config.recipe import folders, stage_configs
from vxl.errors import ConfigError

ROOT = Path(__file__).parents[2]


def stages(*words):
    words = with_recipes_model(["logger=csv", *words])
    config = compose("train", words)
    return [
        checked(made, "train") for made in stage_configs(config, words, lambda w: compose_yaml("train", w))
    ]


def test_stages_follow_each_other_with_their_own_settings():
    found = stages("recipe=videoxl2", "size=tiny", "name=long", "init_from=elsewhere", "optim.clip=0.5")
    names = ["long/dts_reconstruct", "long/align", "long/videoxl2_caption", "long/videoxl2_instruct"]
    assert [stage.name for stage in found] == names
    assert [stage.init_from for stage in found] == ["elsewhere", *names[:-1]]
    assert [stage.stage.objective for stage in found] == ["reconstruct", *["language"] * 3]
    assert found[1].stage.train == ["projector"]
    assert len(found[2].stage.train) == 5
    assert {stage.optim.clip for stage in found} == {0.5}
    assert all((stage.model, stage.recipe) == ("videoxl2", None) for stage in found)


def test_a_stage_has_data_of_its_own_and_the_name_is_stable():
    listed = "recipe.stages=[{stage: align, set: ['data.batch=3']}, {stage: lora}, {stage: lora}]"
    found = stages("recipe=videoxl2", "size=tiny", listed)
    assert [stage.data.batch for stage in found] == [3, 16, 16]
    base = found[0].name.partition("/")[0]
    assert base.startswith("videoxl2-")
    assert [stage.name for stage in found] == [f"{base}/align", f"{base}/lora", f"{base}/lora-2"]
    assert [stage.name for stage in stages("recipe=videoxl2", "size=tiny", listed)] == [
        stage.name for stage in found
    ]


def test_what_trains_is_asked_of_each_stage_and_not_of_the_one_that_counts_for_nothing():
    words = ["recipe=videoxl2", "size=tiny", "data.cache=features"]
    frozen = "recipe.stages=[{stage: align}, {stage: lora}]"  # no stage of the two trains the tower
    for stage in (compose("train", with_recipes_model([*words, frozen])), *stages(*words, frozen)):
        check_training(stage)
    *_, last = stages(*words)
    with pytest.raises(ConfigError, match=r"stage\.train names vision"):
        check_training(last)


def test_a_cluster_is_given_no_recipe_with_a_stage_that_would_be_refused(tmp_path, capsys):
    words = ["recipe=videoxl2", "size=tiny", "data.cache=features", "cluster=local", "dry_run=true"]
    words += [f"paths.runs={tmp_path}", "logger=csv", "name=handed"]
    assert run_command("train", lambda config, composed: None, words) == 2
    assert "stage.train names vision" in capsys.readouterr().err
    frozen = "recipe.stages=[{stage: align}, {stage: lora}]"
    assert run_command("train", lambda config, composed: None, [*words, frozen]) == 0
    assert "would run handed" in capsys.readouterr().out


def test_weights_are_named_until_a_stage_has_had_all_of_them():
    assert [stage.weights for stage in stages("recipe=videoxl2", "size=tiny", "weights=folder")] == [
        "folder",
        "folder",  # the stage before had no language model
        "random",
        "random",
    ]
    listed = "recipe.stages=[{stage: align}, {stage: lora}]"
    assert [stage.weights for stage in stages("recipe=videoxl2", "size=tiny", listed, "weights=folder")] == [
        "folder",
        "random",
    ]


def test_a_recipe_implies_its_model():
    def composed(*words):
        return compose("train", with_recipes_model(list(words)))

    (first, *_) = stages("recipe=videoxl_pro", "size=tiny")
    assert first.model == "videoxl_pro"
    assert composed("recipe=videoxl_pro", "model=tiny").model == "tiny"
    assert composed("recipe=videoxl2").llm.layers == 28


def test_folders_have_different_names():
    assert folders(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


def test_a_stage_beside_a_recipe_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"stage=align has no effect: the recipe says which stages run \(dts_reconstruct, align",
    ):
        stages("recipe=videoxl2", "size=tiny", "stage=align")


@pytest.mark.parametrize("size", [pytest.param("published", marks=pytest.mark.slow), "tiny"])
@pytest.mark.parametrize("recipe", ["videoxl", "videoxl_pro", "small"])
def test_every_recipe_composes(recipe, size):
    assert stages(f"recipe={recipe}", f"model={recipe}", f"size={size}")


def trained(folder, recipe, *more):
    """(exit status, output) of a whole recipe in miniature, a step a stage."""
    words = [
        f"recipe={recipe}", "size=tiny", f"paths.runs={folder}", "name=long",
        "logger=csv", "trainer.max_steps=1", "trainer.val_every=0", "data.workers=0", "data.held_out=4",
        *more,
    ]  # fmt: skip
    return typed("train.py", *words, cwd=ROOT, environment={**os.environ, "COLUMNS": "150"})


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["videoxl", "videoxl_pro", "small"])
def test_every_recipe_runs_whole(recipe, tmp_path):
    status, said = trained(tmp_path, recipe)
    assert status == 0, said
    stages = [stage.stage for stage in compose("train", [f"recipe={recipe}", "size=tiny"]).recipe.stages]
    assert sorted(path.parent.name for path in (tmp_path / "long").glob("*/RESULT.json")) == sorted(stages)


@pytest.mark.slow
def test_a_recipe_runs_its_stages_and_goes_on_at_the_unfinished_one(tmp_path):
    def train(*more):
        return trained(tmp_path, "videoxl2", *more)

    status, said = train("dry_run=true")
    assert status == 0, said
    assert said.count("would run long/") == 4
    assert "to go" not in said  # a preview tells nothing of how long a training takes
    status, said = train()
    assert status == 0, said
    results = sorted(path.parent.name for path in (tmp_path / "long").glob("*/RESULT.json"))
    assert results == ["align", "dts_reconstruct", "videoxl2_caption", "videoxl2_instruct"]
    assert said.count("next:") == 1  # that of the last stage: behind the others the command goes on
    assert f"warm start from {tmp_path}/long/dts_reconstruct/checkpoints/step-000001" in said.replace(
        "\n", ""
    )
    assert f"warm start from {tmp_path}/long/align/checkpoints/step-000001" in said.replace("\n", "")
    (tmp_path / "long" / "videoxl2_instruct" / "RESULT.json").unlink()
    status, said = train()
    assert status == 0, said
    assert said.count("nothing to do") == 3
    assert "videoxl2_instruct: goes on after step 1" in said
