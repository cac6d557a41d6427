"""One budget for every policy: a fraction, a number of entries, or mebibytes."""

import pytest
import torch

from tests.llm.tiny import decoder
from vxl.errors import ConfigError
from vxl.kv.budget import BudgetConfig, Cost, budget, cost_of


def config(**settings) -> BudgetConfig:
    return BudgetConfig(_target_="", **settings)


def test_a_fraction_is_rounded_half_up() -> None:
    watched_B = torch.tensor([0, 1, 2, 3, 5, 7, 1000])
    assert budget(config(keep=0.5), watched_B).tolist() == [0, 1, 1, 2, 3, 4, 500]
    assert budget(config(keep=0.25), watched_B).tolist() == [0, 0, 1, 1, 1, 2, 250]
    assert budget(config(keep=1.0), watched_B).tolist() == watched_B.tolist()


def test_a_number_of_entries_is_that_number() -> None:
    watched_B = torch.tensor([3, 4096, 10_000])
    assert budget(config(keep=None, tokens=4096), watched_B).tolist() == [4096] * 3


def test_mebibytes_are_whole_entries_of_so_many_bytes() -> None:
    watched_B = torch.tensor([3, 10_000])
    assert budget(config(keep=None, mib=1.5), watched_B, Cost(1000, 0)).tolist() == [1572, 1572]  # 1,572,864
    assert budget(config(keep=None, mib=1.0), watched_B, Cost(2**20 + 1, 0)).tolist() == [0, 0]
    assert budget(config(keep=None, mib=1.0), watched_B, Cost(1000, 48_577)).tolist() == [999, 999]
    assert budget(config(keep=None, mib=1.0), watched_B, Cost(1000, 2**21)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "settings",
    [{"keep": 0.0}, {"keep": 1.01}, {"tokens": 5}, {"keep": None}, {"keep": None, "tokens": 0},
     {"keep": None, "mib": 0.0}, {"keep": None, "tokens": 5, "mib": 1.0}],
)  # fmt: skip
def test_what_is_no_budget_is_refused(settings: dict) -> None:
    with pytest.raises(ConfigError):
        config(**settings)


@pytest.mark.parametrize("per_head", [False, True])
def test_an_entry_takes_its_keys_and_values_and_where_it_stands(per_head: bool) -> None:
    """Position and column are 8 bytes each, whether it exists 1: for each head where heads differ."""
    llm = decoder("qwen2", layers=2)
    cache = llm.new_cache()
    with torch.no_grad():
        llm.extend(llm.embed(torch.arange(12)[None]), cache)
    wide = 0
    for (block,) in cache.layers:
        tensors = [block.keys_BNSH, block.values_BNSH, block.rotated_BNSH]
        wide += sum(x.element_size() * x.shape[1] * x.shape[3] for x in tensors if x is not None)
    heads = cache.layers[0][0].keys_BNSH.shape[1]
    places = 2 * 17 * (heads if per_head else 1)
    assert cost_of(cache, config(), per_head=per_head) == (wide + places, 0)
    away = config(offload=True)  # rotated keys are not remembered there
    assert cost_of(cache, away, per_head=per_head) == (wide * 2 // 3 + places, 0)
    vectors = 2 * 2 * heads * (12 + 4)  # layers, keys and values, heads, a byte a number and a scale
    assert cost_of(cache, config(bits=8), per_head=per_head) == (vectors + places, 0)


@torch.no_grad()
def test_an_entry_in_four_bits_takes_its_share_of_the_scales() -> None:
    llm = decoder("qwen2", layers=2)
    cache, four = llm.new_cache(memo=False), config(bits=4, residual=8)
    llm.extend(llm.embed(torch.arange(44)[None] % 20), cache)
    before = cache.bytes()
    cache.code(8)
    entry, beside = cost_of(cache, four, per_head=False)
    # In each of 2 layers and 2 heads 6 bytes of codes for keys and values each, one pair of scales for a
    # value's channels; a run's 12 pairs for 8 entries; positions, columns and runs.
    assert entry == 2 * 2 * (6 + 6 + 2 * 4) + 2 * 2 * 12 * 2 * 4 // 8 + 2 * (17 + 4)
    assert beside == 2 * 8 * 2 * (2 * 2 * 12 * 4 + 17)  # up to 16 newest entries, as they are
    plain = 2 * 2 * 2 * 12 * 4
    assert before - cache.bytes() == 32 * plain - 32 * (2 * 2 * 20) - 4 * 2 * 2 * 12 * 2 * 4
    cache.keep(cache.index() % 8 == 0)  # one of each run: the scales of four runs stay for four entries
    assert cost_of(cache, four, per_head=False).beside == beside + 2 * (4 - 0.5) * 2 * 12 * 2 * 4
