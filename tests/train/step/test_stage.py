from typing import Any

import pytest
import torch
from torch import nn

from tests.train.quick_training import Model
from vxl.errors import ConfigError
from vxl.train.step.stage import (
    PARTS,
    PartRates,
    StageConfig,
    cast_frozen,
    freeze,
    part_of,
    ratios_at,
    train_mode,
    trains,
)


def test_parts_by_name():
    names = {
        "vision.layers.0.weight": "vision",
        "compressor.mix.weight": "compressor",
        "compressor.projector.0.weight": "projector",
        "selector.text.weight": "selector",
        "llm.model.embed_tokens.weight": "llm",
    }
    assert {name: part_of(name) for name in names} == names
    with pytest.raises(ValueError, match=r"head\.weight belongs to none of vision"):
        part_of("head.weight")


@pytest.mark.parametrize("part", PARTS)
def test_one_part_learns_and_the_others_are_frozen(part):
    model, stage = Model(), StageConfig(train=[part])
    freeze(model, stage)
    assert {part_of(n) for n, p in model.named_parameters() if p.requires_grad} == {part}
    model.eval()
    train_mode(model, stage)
    modes = {
        "vision": model.vision[1].training,
        "compressor": model.compressor.mix.training,
        "projector": model.compressor.projector.training,
        "selector": model.selector.training,
        "llm": model.llm.drop.training,
    }
    assert modes == {name: name == part for name in PARTS}


def test_a_stage_trains_what_it_names():
    stage = StageConfig(train=["llm"])
    assert trains(stage, "llm")
    assert not trains(stage, "vision")


@pytest.mark.parametrize(
    ("values", "match"), [({"train": []}, "nothing"), ({"train": ["llm", "llm"]}, "twice"), ({"lr": 0}, "lr")]
)
def test_impossible_stages(values, match):
    with pytest.raises(ConfigError, match=match):
        StageConfig(**values)


def test_a_rate_of_0_is_not_that_of_the_rest() -> None:
    with pytest.raises(ConfigError, match=r"llm=0\.0 is not a learning rate"):
        PartRates(llm=0.0)


def test_larger_ratios_join_one_after_the_other() -> None:
    stage = StageConfig(ratios=[16, 2, 4, 8, 12], curriculum=0.6)
    found = [ratios_at(stage, done) for done in (0.0, 0.19, 0.21, 0.41, 0.61, 1.0)]
    whole = (2, 4, 8, 12, 16)
    assert found == [whole[:2], whole[:2], whole[:3], whole[:4], whole, whole]
    assert ratios_at(StageConfig(ratios=[8, 2]), 0.0) == (2, 8)
    assert ratios_at(StageConfig(), 0.5) == ()
    three = StageConfig(ratios=[2, 4, 8], curriculum=0.5)
    assert [ratios_at(three, done) for done in (0.0, 0.49, 0.5)] == [(2, 4), (2, 4), (2, 4, 8)]


@pytest.mark.parametrize("settings", [{"ratios": [-2]}, {"curriculum": 1.5}])
def test_impossible_ratios_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        StageConfig(**settings)


def test_frozen_weights_become_bfloat16_and_those_that_learn_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    cast_frozen(model, "bf16")
    assert [p.dtype for p in model.parameters()] == [torch.bfloat16] * 2 + [torch.float32] * 2
