"""A tower in float8 that does not learn: the rest of the model trains behind it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.strategies import cases
from vxl.checkpoint.step_folder import choose_step
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.train.report.opening import refuse_absent
from vxl.train.step.stage import StageConfig
from vxl.vision.siglip import SiglipConfig

FROZEN = StageConfig(train=["compressor", "projector", "llm"])
TOWER = SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=2, slice=8, fp8="emulated")


@pytest.mark.slow
def test_a_training_behind_it_resumes_with_the_same_bits(tmp_path: Path) -> None:
    def run(name: str, steps: int, tower: SiglipConfig = TOWER) -> dict[str, Any]:
        arguments = {"name": name, "vision": tower, "stage": FROZEN, "trainer": {"max_steps": steps}}
        return cases.train(str(tmp_path), arguments)

    whole = run("whole", 4)
    run("cut", 2)
    cut = run("cut", 4)
    assert cut["loss"] == whole["loss"]
    for name, tensor in whole["weights"].items():
        assert torch.equal(cut["weights"][name], tensor), name
    plain = run("plain", 4, SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=2, slice=8))
    assert plain["loss"].keys() == whole["loss"].keys()
    assert plain["loss"] != whole["loss"]
    for step, loss in whole["loss"].items():
        assert loss == pytest.approx(plain["loss"][step], rel=0.02)
    name = "vision.encoder.layers.0.mlp.fc1.weight"
    saved = choose_step(tmp_path / "whole").outline()[f"model.{name}"]
    assert (tuple(saved.shape), saved.dtype) == ((96, 64), torch.bfloat16)
    off = (whole["weights"][name] - plain["weights"][name]).norm() / plain["weights"][name].norm()
    assert 0.01 < off < 0.04


def test_a_device_without_such_products_is_refused_first() -> None:
    config = compose("train", ["vision.fp8=true", "stage=lora"])
    with pytest.raises(ConfigError, match=r"vision\.fp8=true needs a GPU that multiplies in float8"):
        refuse_absent(config, torch.device("cpu"))
