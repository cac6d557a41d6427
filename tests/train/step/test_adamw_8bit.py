"""AdamW with moments of 8 bits: what it keeps, how near AdamW it is, that it resumes with the same bits.

What needs no torchao is tested everywhere; its own steps where it is installed.
"""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.run.test_changes import changed
from tests.train import quick_training as fake
from tests.train.quick_training import Config, Paths
from tests.train.test_run import resumes_with_the_same_bits, tensors
from vxl.config.check_training import check_training
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.terminal.screen import Screen
from vxl.train.report.opening import refuse_absent
from vxl.train.run import train_or_resume
from vxl.train.sizes import training_sizes
from vxl.train.step.adamw_8bit import (
    AdamW8bitConfig,
    adamw_8bit,
    as_moments,
    as_plain_tensors,
    kept_bytes,
)
from vxl.train.step.optimizer import OptimConfig, build_optimizer, moment_bytes, set_rates
from vxl.train.step.stage import StageConfig

needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torchao")
OPTIM = OptimConfig(optimizer=AdamW8bitConfig(weight_decay=0.1), lr=0.01, warmup=0.0, schedule="constant")
WIDTH = 64
"""At which the layers of the quick model have moments in codes."""


@pytest.fixture
def without_torchao(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchao", "torchao.optim", "torchao.optim.subclass_8bit"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_torchao")
def test_without_the_library_it_is_said_what_to_install() -> None:
    said = r"optim=adamw_8bit needs torchao: .*\n  type  pip install 'vxl\[adamw8bit\]'   or  optim=adamw"
    with pytest.raises(ConfigError, match=said):
        build_optimizer(fake.Model(), StageConfig(), OPTIM)
    with pytest.raises(ConfigError, match=said):  # before anything is built
        refuse_absent(compose("train", ["optim=adamw_8bit"]), torch.device("cpu"))
    with pytest.raises(ConfigError, match=said):
        as_moments({"exp_avg/codes": torch.zeros(2, dtype=torch.uint8)}, torch.zeros(2))


@pytest.mark.usefixtures("without_torchao")
def test_a_run_that_lacks_a_library_gets_no_directory(tmp_path: Path) -> None:
    for words in (["optim=adamw_8bit"], ["video.decoder=torchcodec", "video.device=cuda"]):
        config = compose("train", ["trainer=cpu", *words, f"paths.runs={tmp_path}"])
        with pytest.raises(ConfigError, match="torch"):
            train_or_resume(config, "", Screen(quiet=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["strategy=fsdp2", "trainer.devices=2"], ["trainer.precision=64-true"]])
def test_what_does_not_go_together_is_refused(words: list[str]) -> None:
    check_training(compose("train", ["optim=adamw_8bit"]))
    check_training(compose("train", ["optim=adamw_8bit", "strategy=ddp", "trainer.devices=2"]))
    check_training(compose("train", words))
    with pytest.raises(ConfigError, match=rf"optim=adamw_8bit .*{words[0].partition('=')[0]}"):
        check_training(compose("train", ["optim=adamw_8bit", *words]))


@pytest.mark.parametrize("values", [{"betas": [0.9]}, {"eps": -1.0}, {"weight_decay": -0.1}])
def test_impossible_values(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        AdamW8bitConfig(**values)


def test_moments_count_at_their_bytes() -> None:
    """A byte a number and four for 256 of them; whole where a tensor is small, or no blocks fill it."""
    assert kept_bytes(4096, 4.0) == 2 * (4096 + 4 * 16)
    assert kept_bytes(4095, 4.0) == 2 * 4 * 4095
    assert kept_bytes(3840, 2.0) == 2 * 2 * 3840
    assert kept_bytes(4097, 4.0) == 2 * 4 * 4097
    words = ["model=videoxl2", "stage=videoxl2_instruct"]
    adamw, coded = (
        training_sizes(compose("train", [*words, f"optim={name}"])) for name in ("adamw", "adamw_8bit")
    )
    assert adamw.moment_bytes == 8 * 8_123_869_216
    assert coded.moment_bytes == pytest.approx(2 * 8_123_869_216 * (1 + 4 / 256), rel=1e-3)
    assert adamw.total_bytes - coded.total_bytes == adamw.moment_bytes - coded.moment_bytes
    assert adamw.checkpoint_bytes - coded.checkpoint_bytes == adamw.moment_bytes - coded.moment_bytes


def stepped(optim: OptimConfig, steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A model after steps with gradients that a rule gives."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"llm": torch.nn.Linear(64, 96), "vision": torch.nn.Linear(5, 5)})
    optimizer = build_optimizer(model, StageConfig(), optim)
    made = torch.Generator().manual_seed(1)
    for step in range(steps):
        rates = set_rates(optimizer, step, steps, optim)
        assert rates == {"llm": optim.lr, "vision": optim.lr}
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=made)
        optimizer.step()
    return model, optimizer


@needs_torchao
@pytest.mark.slow
def test_steps_are_near_those_of_adamw_and_keep_what_is_counted() -> None:
    model, optimizer = stepped(OPTIM, 12)
    adamw: Any = OptimConfig(lr=0.01, warmup=0.0, schedule="constant")
    adamw = dataclasses.replace(adamw, optimizer=dataclasses.replace(adamw.optimizer, weight_decay=0.1))
    whole, _ = stepped(adamw, 12)
    begun, _ = stepped(OPTIM, 0)
    for name, parameter in whole.named_parameters():
        moved = (parameter - begun.get_parameter(name)).detach()
        off = float((model.get_parameter(name) - parameter).detach().norm() / moved.norm())
        if name == "llm.weight":
            assert 1e-4 < off < 0.1
        else:  # small tensors keep their moments whole
            assert off < 1e-5
    held = {
        name: sum(
            tensor.nbytes for key, tensor in as_plain_tensors(optimizer.state[p]).items() if key != "step"
        )
        for name, p in model.named_parameters()
    }
    assert held == moment_bytes(model, OPTIM, 4)


@needs_torchao
@pytest.mark.slow
def test_what_a_checkpoint_has_is_plain_and_becomes_the_same_moments() -> None:
    model, optimizer = stepped(OPTIM, 2)
    parameter = model.get_parameter("llm.weight")
    plain = as_plain_tensors(optimizer.state[parameter])
    moments = ("exp_avg", "exp_avg_sq")
    assert plain.keys() == {
        "step",
        *(f"{moment}/{part}" for moment in moments for part in ("codes", "scale")),
    }
    assert {type(tensor) for tensor in plain.values()} == {torch.Tensor}
    again = as_moments(plain, parameter)
    assert again.keys() == optimizer.state[parameter].keys()
    for moment in moments:
        assert torch.equal(again[moment].dequantize(), optimizer.state[parameter][moment].dequantize())
        assert again[moment].signed == optimizer.state[parameter][moment].signed


@needs_torchao
@pytest.mark.slow
def test_a_training_resumes_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake.Model.__init__, "__defaults__", (WIDTH, 0.1))
    config = changed(
        Config(paths=Paths(runs=str(tmp_path)), name="first"),
        optim={"optimizer": AdamW8bitConfig(weight_decay=0.1), "schedule": "cosine"},
    )
    resumes_with_the_same_bits(config, monkeypatch)
    kept = tensors(config)
    assert kept["optim.compressor.mix.weight.exp_avg/codes"].dtype is torch.uint8
    assert kept["optim.compressor.mix.weight.exp_avg/scale"].shape == (WIDTH * WIDTH // 256,)
    assert kept["optim.compressor.mix.bias.exp_avg"].shape == (WIDTH,)


@needs_torchao
def test_it_is_torchao_s_own() -> None:
    made = adamw_8bit(AdamW8bitConfig(), [{"params": [torch.nn.Parameter(torch.zeros(3))], "lr": 0.5}])
    assert (type(made).__module__, type(made).__name__) == ("torchao.optim.adam", "AdamW8bit")
    assert float(made.param_groups[0]["lr"]) == 0.5
