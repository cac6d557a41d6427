"""Keys and values in eight bits: recorded codes, bounds, bytes, and what commutes with them."""

import pytest
import torch

from tests.golden.policies.measure import FILES, found
from tests.llm.tiny import decoder, fed, tokens
from vxl.llm.cache.coded import CodedBlock
from vxl.llm.cache.codes import VectorCodes


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("part", ["keys", "values"])
def test_codes_are_the_recorded_ones(part: str) -> None:
    codes = VectorCodes.of(found("authors_0")[f"kivi.{part}"])
    assert torch.equal(codes.codes_BNSH, found("extra_0")[f"int8.{part}.code"])
    assert torch.equal(codes.scale_BNS1, found("extra_0")[f"int8.{part}.scale"])


@pytest.mark.parametrize("number", FILES)
def test_nothing_is_off_by_more_than_half_a_scale(number: int) -> None:
    x = found(f"authors_{number}")["kivi.keys"]
    codes = VectorCodes.of(x)
    again = codes.decode(x.dtype)
    assert bool(((again - x).abs() <= codes.scale_BNS1 / 2 * (1 + 1e-5)).all())
    assert torch.equal(VectorCodes.of(again).codes_BNSH, codes.codes_BNSH)  # coding again changes nothing
    assert torch.equal(VectorCodes.of(torch.zeros(1, 1, 2, 3)).decode(torch.float32), torch.zeros(1, 1, 2, 3))


def test_codes_take_a_third_of_the_memory_and_answers_hardly_change() -> None:
    llm = decoder()
    plain, coded = llm.new_cache(memo=False), llm.new_cache(memo=False)
    for cache in (plain, coded):
        fed(llm, cache, tokens(1, 200))
    coded.code()
    assert [type(block) for block in coded.layers[0]] == [CodedBlock]
    keys_and_values = 3 * 2 * 2 * 200 * 12  # layers, both, heads, entries, width
    saved = keys_and_values * 4 - keys_and_values // 12 * (12 + 4)
    assert plain.bytes() - coded.bytes() == saved
    expected = fed(llm, plain, tokens(1, 5, seed=1))
    got = fed(llm, coded, tokens(1, 5, seed=1))
    assert 0 < (got - expected).abs().max() < 0.05 * expected.abs().max()


def test_coding_commutes_with_eviction_moving_and_joining() -> None:
    llm = decoder()
    first, then = llm.new_cache(memo=False), llm.new_cache(memo=False)
    keep = torch.rand(1, 2, 80, generator=torch.Generator().manual_seed(0)) < 0.5
    for cache, early in ((first, True), (then, False)):
        for seed in (0, 1):
            fed(llm, cache, tokens(1, 40, seed=seed))
        if early:
            cache.code()
        cache.join()
        cache.keep(keep)
        cache.move(cache.positions() + 3)
        cache.code()
        assert all(isinstance(block, CodedBlock) for blocks in cache.layers for block in blocks)
    more = tokens(1, 3, seed=2)
    assert torch.equal(fed(llm, first, more), fed(llm, then, more))
    copy = first.fork()
    assert copy.layers[0][0] is first.layers[0][0]
