import itertools

import pytest
import torch

from tests.train.quick_training import Model
from vxl.errors import ConfigError
from vxl.option.schema import schema_of
from vxl.train.step.muon import MuonConfig
from vxl.train.step.optimizer import OptimConfig, build_optimizer, lr_factor, moments_of, set_rates
from vxl.train.step.stage import PartRates, StageConfig, freeze


def test_the_rate_rises_falls_as_a_cosine_and_ends_at_its_floor():
    config = OptimConfig(warmup=0.1, final=0.2)
    rates = [lr_factor(step, 100, config) for step in range(100)]
    assert rates[:3] == [1 / 11, 2 / 11, 3 / 11]
    assert rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.2)
    middle = (10 + 99) / 2
    assert (rates[int(middle)] + rates[int(middle) + 1]) / 2 == pytest.approx(0.6, abs=1e-3)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))


def test_other_schedules():
    linear = OptimConfig(schedule="linear", warmup=0)
    assert [lr_factor(step, 5, linear) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    constant = OptimConfig(schedule="constant", warmup=0)
    assert {lr_factor(step, 5, constant) for step in range(5)} == {1.0}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_train_at_every_step_but_the_last(steps):
    assert all(lr_factor(step, steps, OptimConfig()) > 0 for step in range(max(1, steps - 1)))


def test_every_part_has_its_group_and_rate():
    model = Model()
    stage = StageConfig(train=["vision", "projector"], part_lr=PartRates(vision=0.1))
    freeze(model, stage)
    optimizer = build_optimizer(model, stage, OptimConfig(lr=0.01, warmup=0))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [(group["part"], group["peak"]) for group in optimizer.param_groups] == [
        ("vision", 0.1),
        ("projector", 0.01),
    ]
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {
        id(p) for name, p in model.named_parameters() if name.startswith(("vision.", "compressor.projector."))
    }
    assert set_rates(optimizer, 0, 10, OptimConfig(lr=0.01, warmup=0)) == {"vision": 0.1, "projector": 0.01}
    rates = set_rates(optimizer, 5, 10, OptimConfig(lr=0.01, warmup=0))
    assert optimizer.param_groups[0]["lr"] == rates["vision"] < 0.1


def test_settings_reach_the_optimizer():
    settings = schema_of("torch.optim.SGD")(_target_="torch.optim.SGD", momentum=0.5)
    model = Model()
    optimizer = build_optimizer(model, StageConfig(), OptimConfig(optimizer=settings))
    assert {group["momentum"] for group in optimizer.param_groups} == {0.5}


def chosen(name, **settings):
    return schema_of(f"torch.optim.{name}")(_target_=f"torch.optim.{name}", **settings)


@pytest.mark.parametrize(
    "optimizer",
    [
        chosen("AdamW"),
        chosen("Adam", amsgrad=True),
        chosen("SGD"),
        chosen("SGD", momentum=0.9),
        chosen("RMSprop"),
        chosen("RMSprop", momentum=0.9, centered=True),
        chosen("Adagrad"),
        chosen("ASGD"),
        chosen("Adadelta"),
        chosen("NAdam"),
        chosen("RAdam"),
        chosen("Adamax"),
        chosen("Rprop"),
        MuonConfig(),
    ],
)
def test_what_an_optimizer_keeps_is_what_is_counted(optimizer):
    """Tensors of a parameter's shape after a step."""
    model, config = Model(), OptimConfig(optimizer=optimizer)
    model.vision.requires_grad_(False)
    built = build_optimizer(model, StageConfig(), config)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    built.step()
    kept = {
        name: sum(torch.is_tensor(value) and value.shape == p.shape for value in built.state[p].values())
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    assert moments_of(model, config) == kept


def test_a_setting_that_the_optimizer_refuses():
    config = OptimConfig(optimizer=chosen("AdamW", betas=[0.9, 2.0]))
    with pytest.raises(ConfigError, match=r"torch\.optim\.AdamW says: Invalid beta"):
        build_optimizer(Model(), StageConfig(), config)


def test_a_rate_that_would_have_no_effect_is_refused():
    settings = schema_of("torch.optim.AdamW")(_target_="torch.optim.AdamW", lr=0.5)
    with pytest.raises(ConfigError, match=r"optim\.lr=VALUE"):
        OptimConfig(optimizer=settings)


@pytest.mark.parametrize(
    "values", [{"lr": 0.0}, {"warmup": 1.0}, {"warmup": -0.1}, {"final": 2.0}, {"clip": -1.0}]
)
def test_impossible_values(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        OptimConfig(**values)


def test_nothing_to_train():
    model = Model()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        build_optimizer(model, StageConfig(train=["llm"]), OptimConfig())


def test_a_part_of_a_warm_up_step_is_a_whole_one() -> None:
    """As transformers counts: 3 % of 40 steps are 1.2, and so 2."""
    config = OptimConfig(warmup=0.03)
    assert [lr_factor(step, 40, config) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1.0])
