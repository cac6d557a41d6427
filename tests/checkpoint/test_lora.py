"""A run with LoRA on its way into other models: as it is, and with its updates added in."""

import shutil

import pytest
import torch

from tests.run_directories import make_run
from vxl.checkpoint.convert import export_weights
from vxl.checkpoint.fill import fill_from_step
from vxl.checkpoint.load import load
from vxl.checkpoint.run_weights import open_run
from vxl.checkpoint.source import find_source
from vxl.checkpoint.step_folder import choose_step
from vxl.config.compose import compose
from vxl.llm.lora import is_update
from vxl.model import build_model
from vxl.train.warm import warm_start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose updates are far from zero."""
    run = make_run(tmp_path_factory.mktemp("runs"), "adapted", "stage=lora", "llm.lora.rank=3", steps=(10,))
    folder = choose_step(run)
    model = build_model(compose("train", ["model=tiny", "stage=lora", "llm.lora.rank=3"]))
    fill_from_step(folder, model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_update(name):
                parameter.normal_(std=0.2, generator=generator)
    shutil.rmtree(folder.path)
    folder.write({"model": model.state_dict()}, {})
    return run


def logits(model):
    generator = torch.Generator().manual_seed(1)
    llm = model.llm.double()
    embeds_BTD = torch.randn(1, 5, llm.width, generator=generator, dtype=torch.float64)
    return llm.logits(llm(embeds_BTD, llm.step(torch.arange(5)[None])))


def test_a_run_loads_with_its_updates_and_exports_without(run, tmp_path):
    loaded = load(run)
    assert any(is_update(name) for name in loaded.model.state_dict())
    export_weights(str(run), tmp_path / "out", published=False)
    exported = load(tmp_path / "out")
    assert not any(is_update(name) for name in exported.model.state_dict())
    torch.testing.assert_close(logits(exported.model), logits(loaded.model), rtol=1e-4, atol=1e-4)
    assert not any(is_update(name) for name in open_run(run, choose_step(run)).tensors)


def test_weights_without_updates_start_a_run_with_them(run, tmp_path):
    export_weights(str(run), tmp_path / "out", published=False)
    words = ["model=tiny", "stage=lora", "llm.lora.rank=2"]
    started = build_model(compose("train", words), seed=5)
    find_source(tmp_path / "out", tmp_path).fill(started)
    torch.testing.assert_close(logits(started), logits(load(tmp_path / "out").model))


@pytest.mark.parametrize("rank", [0, 2, 3])
def test_a_warm_start_loses_no_update(run, rank):
    words = ["model=tiny", *(["stage=lora", f"llm.lora.rank={rank}"] if rank else [])]
    started = build_model(compose("train", words), seed=5)
    report = warm_start(str(run), started, run.parent)
    assert not report.ignored
    torch.testing.assert_close(logits(started), logits(load(run).model), rtol=1e-4, atol=1e-4)
