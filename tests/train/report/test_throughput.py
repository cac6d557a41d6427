"""Operations of a step, against the arithmetic of the modules written out by hand."""

import pytest
import torch

from tests import small
from vxl.llm.decoder import DecoderConfig
from vxl.llm.lora import LoRAConfig
from vxl.train.report.throughput import Flops, flops_of, peak_of
from vxl.train.step.module import TrainStep
from vxl.train.step.stage import StageConfig, freeze

STEP = TrainStep(tokens=100, visual_tokens=8, frames=3, pairs=5000, supervised=6)
LLM = DecoderConfig(vocab=97, width=48, mlp=64, layers=2)
# A group of the small model: 4 frames of 4 x 4 patches of width 64, synthesised to one, pooled to 2 x 2.
P, V, D = 16, 64, 48
VISION = P * 3 * 14 * 14 * V + P * (4 * V * V + 2 * V * 96)
ROUND = 4 * V * V + 4 * V * V  # spatial: q, k, v, out; temporal: qkv (3), out
DTS = P * ((4 + 2) * ROUND + (2 + 1) * 27 * V * V) / 4
PROJECTOR = P * (V * D + D * D) / 4
QKVO, MLP = D * (48 + 24 + 24) + 48 * D, 3 * D * 64
BLOCKS = 2 * (QKVO + MLP)


def flops(train=None, **changes) -> Flops:
    model = small.model(**changes)
    freeze(model, StageConfig() if train is None else StageConfig(train=train))
    return flops_of(model, peak=1e12)


def test_weights_are_counted_where_they_are_used():
    found = flops()
    assert found.frame["vision"].weights == 2 * VISION
    assert found.frame["vision"].attention == 2 * 2 * P * P * V
    # The temporal attention's relative terms are products with tables, of which there is no more than this.
    relative = P * (16 + 4) * 2 * V / 4
    assert 2 * DTS <= found.frame["compressor"].weights <= 2 * (DTS + 2 * relative)
    assert found.frame["projector"].weights == 2 * PROJECTOR
    assert found.token.weights == 2 * BLOCKS
    assert found.pair.attention == 2 * 2 * D
    assert found.head.weights == 2 * 97 * D


def test_a_step_is_three_forwards_where_everything_learns():
    found = flops()
    for work in [*found.frame.values(), found.token, found.pair, found.head]:
        assert work.step == 3 * work.forward
    by_part = found.by_part(STEP)
    assert by_part["llm"] == 3 * (2 * BLOCKS * 100 + 2 * 2 * D * 5000)
    assert by_part["head"] == 3 * 2 * 97 * D * 6
    assert found.of(STEP) == sum(by_part.values())


@pytest.mark.parametrize(
    ("train", "passes"),
    [
        (["projector"], (1, 1, 3, 2, 2)),
        (["llm"], (1, 1, 1, 3, 3)),
        (["vision"], (3, 2, 2, 2, 2)),
        (["compressor", "llm"], (1, 3, 2, 3, 3)),
    ],
)
def test_frozen_weights_need_no_gradients_and_nothing_upstream_none_at_all(train, passes):
    found = flops(train)
    works = [*found.frame.values(), found.token, found.head]
    of_weights = [(w.weights * (1 + w.flows) + w.trained) / w.weights for w in works]
    assert tuple(of_weights) == passes
    # Attention has no weights: one forward, or with gradients through it two more.
    assert found.frame["vision"].step == passes[0] * found.frame["vision"].forward
    assert found.pair.step == found.pair.attention * (3 if passes[3] > 1 else 1)


def test_with_lora_the_base_needs_gradients_of_its_inputs_alone():
    lora = DecoderConfig(vocab=97, width=48, mlp=64, layers=2, lora=LoRAConfig(rank=2, layers=["v_proj"]))
    found = flops(["projector", "llm"], llm=lora)
    update = 2 * 2 * (D + 24)
    assert found.token.weights == 2 * (BLOCKS + update)
    assert found.token.step == 2 * 2 * BLOCKS + 3 * 2 * update
    assert found.head.step == 2 * found.head.weights


def test_a_tied_head_counts_once_as_the_head():
    found = flops(llm=DecoderConfig(vocab=97, width=48, mlp=64, layers=2, tied=True))
    assert (found.head.weights, found.head.trained) == (2 * 97 * D, 2 * 97 * D)
    assert found.token.weights == 2 * BLOCKS


def test_the_peak_of_a_cpu_is_unknown():
    assert peak_of(torch.device("cpu")) is None
