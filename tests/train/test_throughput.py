import pytest
import torch
from torch import nn

from vxl.train.module import Step
from vxl.train.stage import StageConfig
from vxl.train.throughput import flops_of, peak_of


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision = nn.Linear(10, 10, bias=False)
        self.vision.patches, self.vision.layers, self.vision.width = 4, 1, 10
        self.compressor = nn.Module()
        self.compressor.mix = nn.Linear(10, 20, bias=False)
        self.compressor.projector = nn.Linear(20, 30)
        self.llm = nn.Module()
        self.llm.layers, self.llm.width = 2, 30
        self.llm.embed_tokens = nn.Embedding(7, 30)
        self.llm.block = nn.Linear(30, 30)
        self.llm.lm_head = nn.Linear(30, 7, bias=False)


STEP = Step(tokens=100, visual_tokens=8, frames=3, pairs=5000, supervised=6)


def test_operations_by_part_when_everything_learns():
    flops = flops_of(Parts(), StageConfig(), peak=1e12)
    assert flops.by_part(STEP) == {
        "vision": 3 * (2 * 100 * 12 + 4 * 10 * 12 * 4),
        "compressor": 3 * 2 * 200 * 12,
        "projector": 3 * 2 * 600 * 8,
        "selector": 0,
        "llm": 3 * (2 * 900 * 100 + 2 * 60 * 5000),
        "head": 3 * 2 * 210 * 6,
    }


@pytest.mark.parametrize(
    ("train", "passes"),
    [
        (["projector"], (1, 1, 3, 2, 2)),
        (["llm"], (1, 1, 1, 1, 3)),
        (["vision"], (3, 2, 2, 2, 2)),
        (["compressor", "llm"], (1, 3, 2, 2, 3)),
    ],
)
def test_frozen_weights_need_no_gradients_and_nothing_upstream_none_at_all(train, passes):
    flops = flops_of(Parts(), StageConfig(train=train), peak=1e12)
    assert tuple(flops.passes.values()) == passes


def test_a_tied_head_counts_once_as_the_head():
    model = Parts()
    del model.llm.lm_head
    flops = flops_of(model, StageConfig(), peak=1e12)
    assert flops.head == 210
    assert flops.weights["llm"] == 900


def test_the_peak_of_a_cpu_is_unknown():
    assert peak_of(torch.device("cpu")) is None
