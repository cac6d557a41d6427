"""Keys and values on the host: numbers, bytes, and one layer fetched ahead; here without streams."""

import pytest
import torch

from tests.llm.tiny import decoder, fed, tokens
from vxl.llm.cache.coded import CodedBlock
from vxl.llm.cache.host import Fetching, HostBlock, past_of


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


def test_a_cache_on_the_host_gives_the_same_bits() -> None:
    llm = decoder()
    plain, away = llm.new_cache(memo=False), llm.new_cache(memo=False)
    for cache in (plain, away):
        for seed in (0, 1):
            fed(llm, cache, tokens(1, 40, seed=seed))
            if cache is away:
                cache.offload()
    assert all(isinstance(block, HostBlock) for blocks in away.layers for block in blocks)
    assert away.bytes() == plain.bytes()
    keep = torch.rand(1, 2, 80, generator=torch.Generator().manual_seed(0)) < 0.5
    for cache in (plain, away):
        cache.join()
        cache.keep(keep)
        cache.move(cache.positions() + 3)
    assert all(isinstance(block, HostBlock) for blocks in away.layers for block in blocks)
    copy = away.fork()
    assert copy.layers[0][0] is away.layers[0][0]
    more = tokens(1, 5, seed=2)
    assert torch.equal(fed(llm, copy, more), fed(llm, plain, more))
    assert type(copy.layers[0][-1]) is not HostBlock  # what comes is open room on the device


def test_means_of_what_lies_on_the_host_lie_there_too() -> None:
    llm = decoder()
    plain, away = llm.new_cache(), llm.new_cache()
    for cache in (plain, away):
        fed(llm, cache, tokens(1, 12))
    away.offload()
    members, order = torch.arange(8).view(1, 4, 2), torch.tensor([[12, 13, 14, 15, 8, 9, 10, 11]])
    for cache in (plain, away):
        cache.merge(members, order, torch.arange(8)[None], None)
    assert isinstance(away.layers[0][0], HostBlock)
    assert torch.equal(away.layers[0][0].keys_BNSH, plain.layers[0][0].keys_BNSH)
    assert away.bytes() < plain.bytes()  # rotated keys are not remembered


def test_who_reads_a_layer_starts_the_next_and_no_more() -> None:
    llm = decoder()
    cache = llm.new_cache(memo=False)
    fed(llm, cache, tokens(1, 12))
    assert past_of(cache.layers) == tuple(cache.layers)  # nothing to fetch
    cache.offload()
    past = past_of(cache.layers)
    assert isinstance(past, Fetching)
    started: list[int] = []
    start = past.start
    past.start = lambda layer: (started.append(layer), start(layer))[1]  # ty: ignore[invalid-assignment]
    for layer, expected in enumerate(([0, 1], [0, 1, 2], [0, 1, 2])):
        blocks = past[layer]
        assert started == expected
        assert not any(isinstance(block, HostBlock) for block in blocks)
        assert len(past.coming) <= 1
        assert torch.equal(blocks[0].keys_BNSH, cache.layers[layer][0].keys_BNSH)


def test_codes_go_to_the_host_and_runs_are_coded_when_they_are_whole() -> None:
    llm = decoder()
    cache = llm.new_cache()
    kinds = []
    for seed in range(4):
        fed(llm, cache, tokens(1, 10, seed=seed))
        cache.code(run=8)
        cache.offload()
        blocks = cache.layers[0]
        assert all(isinstance(block, HostBlock) for block in blocks)
        kinds.append([(block.coding is not None, len(block)) for block in blocks])
    # At least the newest 8 stay as they are, and only whole runs of 8 are coded.
    assert kinds[0] == [(False, 10)]
    assert kinds[1] == [(True, 8), (False, 12)]
    assert kinds[3] == [(True, 8), (True, 8), (True, 16), (False, 8)]
    assert cache.entries() == 40
    cache.join()
    assert [(block.coding is not None) for block in cache.layers[0]] == [True, False]
    inner = cache.layers[0][0]
    assert isinstance(inner, HostBlock)
    assert isinstance(inner.inner, CodedBlock)
