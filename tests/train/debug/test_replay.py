"""What is kept of a step that diverged, and where the replay finds that it began."""

import os

import pytest
import torch
from torch import nn

from tests import small_model as small
from tests.acceptance.forked import ROOT, typed
from tests.train import quick_training as fake
from tests.train.test_run import path_of
from vxl.data.batch.collate import collate
from vxl.errors import CheckpointError
from vxl.llm.decoder import DecoderConfig
from vxl.train.debug.replay import examine, load_failed_weights, verdict
from vxl.train.step import diverged
from vxl.train.step.module import DivergedError


@pytest.fixture
def config(tmp_path):
    return fake.Config(paths=fake.Paths(runs=str(tmp_path)), name="first")


def batch():
    return collate([[small.example(small.video(2))], [small.example(small.IMAGE, seed=3)]], pad=0)


class Root(nn.Module):
    """Zero, with a gradient that is none."""

    def forward(self, x):
        return x + torch.sqrt(x * 0)


def test_the_batch_and_the_weights_of_the_step_are_kept(config):
    with pytest.raises(DivergedError):
        fake.train(config, poison=4)
    kept = diverged.latest(path_of(config))
    assert kept.name == "step-000005"
    ((seen, batches),) = diverged.read_batches(kept)
    assert (seen["step"], seen["ranks"], len(batches)) == (4, 1, 2)
    rows, wanted = 4, fake.batch(config.seed, 36, 4)
    assert batches[1].keys == wanted.keys == [str(36 + row) for row in range(rows)]
    assert torch.equal(batches[1].frames_FCHW, wanted.frames_FCHW)
    assert torch.equal(batches[1].layout.document_BT, wanted.layout.document_BT)
    assert batches[1].items == wanted.items
    model = fake.Model()
    load_failed_weights(kept / diverged.CHECKPOINT, model)
    _, found = examine(model, batches[0])
    assert (found.where, found.name, found.part) == ("batch", "frames_FCHW", "batch")
    assert verdict([None, found]).startswith("first: batch, batch: frames_FCHW\n  look at that sample")
    assert examine(model, batches[1])[1] is None


def test_a_run_that_never_diverged_says_so(config):
    fake.train(config)
    with pytest.raises(CheckpointError, match="its loss and gradients were numbers all along"):
        diverged.latest(path_of(config))


def test_a_sound_step_has_nothing_to_find():
    model = small.model().train()
    loss, found = examine(model, batch())
    assert found is None
    assert loss > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert "everything is a number here" in verdict([found])


@pytest.mark.parametrize(
    ("weight", "part"),
    [
        ("vision.encoder.layers.0.mlp.fc2.weight", "vision"),
        ("compressor.projector.2.weight", "projector"),
        ("llm.causal_lm.model.layers.1.mlp.up_proj.weight", "llm"),
    ],
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_overflow_is_found_in_its_module(weight, part, checkpointing):
    llm = DecoderConfig(vocab=97, width=48, mlp=64, layers=2, checkpointing=checkpointing)
    model = small.model(llm=llm).train()
    with torch.no_grad():
        model.get_parameter(weight).fill_(3e38)
    _, found = examine(model, batch())
    assert (found.where, found.part) == ("forward", part)
    assert found.name == weight.removesuffix(".weight")


def test_broken_weights_are_named():
    model = small.model().train()
    with torch.no_grad():
        model.get_parameter("compressor.projector.0.bias")[3] = float("nan")
    _, found = examine(model, batch())
    assert (found.where, found.part, found.name) == ("weights", "projector", "compressor.projector.0.bias")
    assert "earlier checkpoint" in verdict([found])


def test_a_gradient_that_breaks_is_found_where_it_does():
    model = small.model().train()
    model.compressor.projector.append(Root())
    _, found = examine(model, batch())
    assert (found.where, found.part) == ("backward", "projector")
    assert found.name == "compressor.projector.2"


@pytest.mark.slow
def test_a_run_that_diverges_is_replayed_from_the_command_line(tmp_path):
    def train(*words):
        words = (f"paths.runs={tmp_path}", "name=wild", "logger=csv", *words)
        return typed("train.py", *words, cwd=ROOT, environment={**os.environ, "COLUMNS": "150"})

    words = [
        "optim.lr=1e30",
        "optim.warmup=0",
        "data.workers=0",
        "trainer.max_steps=20",
        "trainer.val_every=0",
    ]
    status, said = train(*words)
    assert status == 2, said
    assert "which part began it:  python train.py debug=replay name=wild" in said
    status, said = train("debug=replay")
    assert status == 0, said
    assert "first: " in said
    assert "replay of " in said
