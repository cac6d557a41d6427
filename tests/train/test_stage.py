import pytest

from tests.train.fake import Model
from vxl.errors import ConfigError
from vxl.train.stage import PARTS, StageConfig, freeze, part_of, train_mode, trains


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
