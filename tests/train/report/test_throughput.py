"""Operations of a step, against the arithmetic of the modules written out by hand."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests import small_model as small
from vxl.data.batch.collate import collate
from vxl.kv.vst import VSTConfig
from vxl.llm.decoder import DecoderConfig
from vxl.llm.lora import LoRAConfig
from vxl.prefill.chunked import ChunkedConfig
from vxl.prefill.full import FullConfig
from vxl.prune.uniform import UniformConfig
from vxl.train.report.throughput import Flops, flops_of, peak_of
from vxl.train.step.stage import StageConfig, freeze
from vxl.train.step.train_step import TrainStep

STEP = TrainStep(llm_tokens=100, visual_tokens=8, frames=3, pairs=5000, supervised=6)
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
    assert found.pair.attention == 2 * 4 * D
    assert found.head.weights == 2 * 97 * D


def test_a_step_is_three_forwards_where_everything_learns():
    found = flops()
    for work in [*found.frame.values(), found.token, found.pair, found.head]:
        assert work.step == 3 * work.forward
    by_part = found.by_part(STEP)
    assert by_part["llm"] == 3 * (2 * BLOCKS * 100 + 2 * 4 * D * 5000)
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


def counted(m, batch) -> tuple[TrainStep, float]:
    """What a step sees of a batch, and the products with weights in the language model's layers, by torch."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        output = m(batch)
    step = TrainStep()
    step.count(batch, output)
    counts = counter.get_flop_counts()
    layers = [ops for name, ops in counts.items() if re.search(r"\.llm\..*\.layers\.\d+$", name)]
    assert len(layers) == 2
    products = sum(ops.get(op, 0) for ops in layers for op in (torch.ops.aten.mm, torch.ops.aten.addmm))
    return step, float(products)


def seen(m, batch) -> int:
    """Pairs of a token and a key that it sees: those through which a single layer hands gradients back."""
    embeds_BTD = torch.randn(*batch.tokens_BT.shape, m.llm.width, requires_grad=True)
    passed = m.prefill.forward(m.llm, m.policy, embeds_BTD, batch.positions_BT, batch.layout)
    pairs = 0
    for row, column in batch.layout.real_BT.nonzero().tolist():
        (found_BTD,) = torch.autograd.grad(
            passed.hidden_BTD[row, column].square().sum(), embeds_BTD, retain_graph=True
        )
        pairs += int((found_BTD.abs().sum(-1) > 0).sum())
    return pairs


VIDEOS = [[small.example(small.video(7))], [small.example(small.video(2), small.IMAGE), small.example()]]
MASKS = {
    "full": FullConfig(),
    "all": ChunkedConfig(groups_per_chunk=2, previous_chunks=1),
    "window": ChunkedConfig(groups_per_chunk=1, previous_chunks=0, time_rows="window"),
}


@pytest.mark.parametrize("mask", MASKS)
def test_pairs_are_those_that_the_mask_leaves(mask):
    m = small.model(prefill=MASKS[mask], llm=DecoderConfig(vocab=97, width=48, mlp=64, layers=1))
    batch = collate(VIDEOS, pad=0)
    step = TrainStep()
    step.count(batch, m(batch))
    assert step.pairs == seen(m, batch)
    assert step.llm_tokens == step.tokens == batch.tokens


@pytest.mark.parametrize("mask", MASKS)
def test_products_with_weights_are_those_that_torch_counts(mask):
    m = small.model(prefill=MASKS[mask])
    step, products = counted(m, collate(VIDEOS[:1], pad=0))
    assert flops_of(m, 1.0).token.weights * step.llm_tokens == products


def test_tokens_that_were_dropped_before_the_language_model_are_not_counted():
    whole, products = counted(small.model(), collate(VIDEOS[:1], pad=0))
    m = small.model(prune=UniformConfig(keep=0.25))
    step, fewer = counted(m, collate(VIDEOS[:1], pad=0))
    assert flops_of(m, 1.0).token.weights * step.llm_tokens == fewer < 0.6 * products
    assert step.tokens == whole.tokens
    assert step.llm_tokens == whole.tokens - 28 + 7  # of 7 groups of 4 visual tokens
    assert step.pairs == step.llm_tokens * (step.llm_tokens + 1) // 2


def test_beacons_are_counted_and_see_what_stayed():
    m = small.model(kv=VSTConfig(ratio=2, groups=2))
    batch = collate([[small.example(small.video(4))]], pad=0)
    step = TrainStep()
    step.count(batch, m(batch))
    before, behind = 3, 1 + 2 + 3  # text around 4 groups of 2 tokens of time and 4 visual ones
    window, beacons = 2 * (2 + 4), 2 * 4 // 2
    assert batch.tokens == before + 2 * window + behind
    assert step.llm_tokens == batch.tokens + 2 * beacons
    own = [before, window + beacons, window + beacons, behind]
    stays = [before, 2 * 2 + beacons, 2 * 2 + beacons, behind]
    held = [sum(stays[:number]) for number in range(4)]
    assert step.pairs == sum(n * h + n * (n + 1) // 2 for n, h in zip(own, held, strict=True))
