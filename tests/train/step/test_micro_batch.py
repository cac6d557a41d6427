"""The search for the largest micro-batch, with a limit in place of a GPU's memory."""

import pytest
import torch

from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.model import build_model
from vxl.prune.uniform import UniformConfig
from vxl.train.sizes import most_frames
from vxl.train.step.micro_batch import (
    divisors,
    fits_in_memory,
    largest_that_fits,
    longest_rows,
    with_micro_batch,
)
from vxl.train.step.stage import freeze

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config():
    words = ["model=tiny", "data.max_tokens=128", "data.batch=4", "trainer.accumulate=3"]
    return compose("train", [*words, "trainer.micro_batch=auto", "logger=csv"])


@pytest.fixture(scope="module")
def model(config):
    built = build_model(config)
    freeze(built, config.stage)
    return built


@pytest.mark.parametrize(("most", "found"), [(0, None), (1, 1), (5, 4), (6, 6), (11, 6), (99, 12)])
def test_bisection_finds_the_largest(most, found):
    tried = []
    assert largest_that_fits(divisors(12), lambda size: (tried.append(size), size <= most)[1]) == found
    assert len(tried) == len(set(tried)) <= 3


@pytest.mark.parametrize("packing", [False, True])
def test_the_longest_rows_fill_what_is_allowed(config, packing):
    import dataclasses

    config = dataclasses.replace(config, data=dataclasses.replace(config.data, packing=packing))
    batch = longest_rows(config, 3)
    assert batch.tokens_BT.shape == (3, 128)
    frames = 124 if packing else config.video.max_frames
    assert batch.frames == 3 * frames == 3 * most_frames(config)
    assert batch.supervised == 3 * (128 - batch.visual_tokens // 3 - 1)


@pytest.mark.parametrize("packing", [False, True])
def test_the_longest_rows_of_a_pruned_video_are_longer_before(config, packing):
    import dataclasses

    half = UniformConfig(keep=0.5)
    config = dataclasses.replace(config, prune=half, data=dataclasses.replace(config.data, packing=packing))
    batch = longest_rows(config, 1)
    fed = batch.tokens_BT.shape[1] - batch.visual_tokens // 2
    assert 126 <= fed <= 128
    assert batch.frames == (config.video.max_frames if not packing else 252)


def activations(model, config, rows):
    """The fewest bytes with which so many rows fit."""
    low, high = 0, 1 << 30
    batch = longest_rows(config, rows)
    while high - low > 100_000:
        middle = (low + high) // 2
        low, high = (low, middle) if fits_in_memory(model, batch, "32-true", CPU, middle) else (middle, high)
    return high


def test_a_limit_of_memory_chooses_the_micro_batch_and_keeps_the_global_batch(model, config):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    limit = activations(model, config, 6)
    found = with_micro_batch(config, model, CPU, limit)
    assert (found.data.batch, found.trainer.accumulate) == (6, 2)
    smaller = with_micro_batch(config, model, CPU, limit // 4)
    assert smaller.data.batch * smaller.trainer.accumulate == 12
    assert smaller.data.batch < 6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_never_fits_and_a_machine_without_a_gpu_are_refused(model, config):
    with pytest.raises(ConfigError, match="not even one row of"):
        with_micro_batch(config, model, CPU, 1000)
    with pytest.raises(ConfigError, match="this run has none"):
        with_micro_batch(config, model, CPU)
