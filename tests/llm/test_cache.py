from typing import Any

import pytest
import torch
from torch import Tensor

from tests.llm.tiny import decoder, fed, plain, reference, tokens
from vxl.llm.cache import Cache
from vxl.llm.cache.eviction import block_by_block, evicted


@pytest.fixture(scope="module")
def llm() -> Any:
    return decoder()


@pytest.fixture(autouse=True)
def no_gradient() -> Any:
    with torch.no_grad():
        yield


def filled(llm: Any, *lengths: int, rows: int = 1, **settings: Any) -> Cache:
    cache = llm.new_cache(rows=rows, **settings)
    for number, length in enumerate(lengths):
        fed(llm, cache, tokens(rows, length, seed=number))
    return cache


def storages(cache: Cache) -> set[int]:
    return {t.untyped_storage().data_ptr() for blocks in cache.layers for b in blocks for t in b.tensors()}


def held(cache: Cache) -> int:
    """Bytes of everything reachable, found without `Cache.bytes`."""
    seen: dict[int, int] = {}
    for blocks in cache.layers:
        for block in blocks:
            for tensor in vars(block).values():
                if isinstance(tensor, Tensor):
                    seen[tensor.untyped_storage().data_ptr()] = len(tensor.untyped_storage())
    return sum(seen.values())


def test_appending_copies_nothing_of_the_past(llm: Any) -> None:
    cache = filled(llm, 50, 40)
    before = [block.keys_BNSH.data_ptr() for block in cache.layers[1]]
    for _ in range(3):
        fed(llm, cache, tokens(1, 1))
    blocks = cache.layers[1]
    assert [block.keys_BNSH.data_ptr() for block in blocks[:2]] == before
    room = blocks[2].keys_BNSH.data_ptr()
    fed(llm, cache, tokens(1, 1))
    assert cache.layers[1][2].keys_BNSH.data_ptr() == room
    assert [len(block) for block in cache.layers[1]] == [50, 40, 4]
    assert cache.entries() == cache.fed == 94
    assert cache.positions().flatten().tolist() == cache.index().flatten().tolist() == list(range(94))


def test_room_runs_out_and_more_is_made(llm: Any) -> None:
    cache = filled(llm, *[1] * 150)
    assert [len(block) for block in cache.layers[0]] == [64, 64, 22]
    ids = torch.cat([tokens(1, 1, seed=number) for number in range(150)], 1)
    more = tokens(1, 1, seed=7)
    expected = plain(llm, torch.cat([ids, more], 1))[:, -1:]
    torch.testing.assert_close(fed(llm, cache, more), expected, rtol=1e-5, atol=1e-5)


def test_bytes_are_what_is_held(llm: Any) -> None:
    cache = filled(llm, 50, 1)
    layers, heads, width = 3, 2, 12
    per_token = layers * heads * width * 4 * 3  # keys, values, rotated keys
    assert cache.bytes() == held(cache)
    assert per_token * (50 + 64) <= cache.bytes() <= per_token * (50 + 64) + 51 * 8 * 8
    lean = filled(llm, 50, 1, memo=False)
    assert lean.bytes() < 0.7 * cache.bytes()
    assert torch.equal(fed(llm, lean, tokens(1, 1)), fed(llm, cache, tokens(1, 1)))


def test_a_fork_shares_blocks_and_nothing_else(llm: Any) -> None:
    parent = filled(llm, 50, 3)
    fork = parent.fork()
    assert storages(fork) == storages(parent)
    same = parent.fork()
    for number in range(5):  # in turns, each its own
        fed(llm, parent, tokens(1, 1, seed=100 + number))
        fed(llm, fork, tokens(1, 1, seed=200 + number))
    asked = tokens(1, 2, seed=9)
    ids = [tokens(1, 50, seed=0), tokens(1, 3, seed=1)]
    for cache, seeds in ((parent, range(100, 105)), (fork, range(200, 205)), (same, ())):
        full = torch.cat([*ids, *(tokens(1, 1, seed=seed) for seed in seeds), asked], 1)
        torch.testing.assert_close(fed(llm, cache, asked), plain(llm, full)[:, -2:], rtol=1e-5, atol=1e-5)


def test_what_a_fork_drops_its_parent_keeps(llm: Any) -> None:
    parent = filled(llm, 50)
    expected = fed(llm, parent.fork(), tokens(1, 4))
    fork = parent.fork()
    fork.keep(torch.arange(50)[None, None] < 10)
    fork.state["note"] = 1
    fed(llm, fork, tokens(1, 1))
    assert parent.entries() == 50
    assert not parent.state
    assert torch.equal(fed(llm, parent, tokens(1, 4)), expected)


def test_dropping_frees_and_is_a_mask(llm: Any) -> None:
    cache = filled(llm, 50, 40)
    untouched = cache.layers[0][1].keys_BNSH.data_ptr()
    before = cache.bytes()
    keep = torch.ones(1, 1, 90, dtype=torch.bool)
    keep[..., 5:45] = False
    cache.keep(keep)
    assert cache.bytes() == held(cache)
    assert cache.bytes() < 0.6 * before
    assert cache.layers[0][1].keys_BNSH.data_ptr() == untouched
    assert cache.index().flatten().tolist() == [*range(5), *range(45, 90)]
    mask = torch.ones(94, 94, dtype=torch.bool).tril()
    mask[90:, 5:45] = False
    ids = torch.cat([tokens(1, 50), tokens(1, 40, seed=1), tokens(1, 4, seed=2)], 1)
    additive = torch.zeros(1, 1, 94, 94).masked_fill(~mask, -1e30)
    expected = reference(llm)(input_ids=ids, attention_mask=additive).logits[:, 90:]
    torch.testing.assert_close(fed(llm, cache, tokens(1, 4, seed=2)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memo", [True, False])
def test_joined_blocks_are_the_same_cache(llm: Any, memo: bool) -> None:
    cache = filled(llm, 50, 40, 1, 1, memo=memo)
    cache.keep(torch.arange(92)[None, None] != 7)
    fork, asked = cache.fork(), tokens(1, 3)
    before = [getattr(cache, name)(1) for name in ("positions", "index", "valid")]
    cache.join()
    assert [len(blocks) for blocks in cache.layers] == [1, 1, 1]
    assert all(
        torch.equal(getattr(cache, name)(1), old)
        for name, old in zip(("positions", "index", "valid"), before, strict=True)
    )
    assert [len(blocks) for blocks in fork.layers] == [3, 3, 3]
    torch.testing.assert_close(fed(llm, cache, asked), fed(llm, fork, asked), rtol=1e-5, atol=1e-5)
    assert cache.bytes() == held(cache)


def test_joining_keeps_ragged_entries_and_shared_rows_apart(llm: Any) -> None:
    keep = torch.rand(2, 2, 50, generator=torch.Generator().manual_seed(0)) < 0.6
    cache = filled(llm, 50, 3, rows=2)
    cache.keep(torch.cat([keep, torch.ones(2, 2, 3, dtype=torch.bool)], -1))
    fork, asked = cache.fork(), tokens(2, 12)
    cache.join()
    assert len(cache.layers[0]) == 1
    torch.testing.assert_close(fed(llm, cache, asked), fed(llm, fork, asked), rtol=1e-5, atol=1e-5)
    rows = filled(llm, 50, 40).fork(rows=3)
    fed(llm, rows, tokens(3, 40))
    fed(llm, rows, tokens(3, 1))
    rows.join()
    assert [len(block.keys_BNSH) for block in rows.layers[0]] == [1, 3]


def test_keeping_all_changes_nothing(llm: Any) -> None:
    cache = filled(llm, 50, 3)
    before = list(cache.layers)
    cache.keep(torch.ones(1, 1, 53, dtype=torch.bool))
    cache.move(cache.positions())
    assert cache.layers == before


def test_rows_and_heads_may_keep_different_entries(llm: Any) -> None:
    keep = torch.rand(2, 2, 50, generator=torch.Generator().manual_seed(0)) < 0.6
    cache = filled(llm, 50, rows=2)
    cache.keep(keep)
    assert cache.entries() == int(keep.sum(-1).max())
    assert torch.equal(cache.valid().sum(-1), keep.sum(-1))
    mask = torch.ones(2, 4, 62, 62, dtype=torch.bool).tril()
    mask[:, :, 50:, :50] = keep.repeat_interleave(2, 1)[:, :, None]
    ids = torch.cat([tokens(2, 50), tokens(2, 12, seed=3)], 1)
    additive = torch.zeros(2, 4, 62, 62).masked_fill(~mask, -1e30)
    expected = reference(llm)(input_ids=ids, attention_mask=additive).logits[:, 50:]
    fork = cache.fork()
    torch.testing.assert_close(fed(llm, cache, ids[:, 50:]), expected, rtol=1e-5, atol=1e-5)
    few = torch.cat([fed(llm, fork, ids[:, i : i + 1]) for i in range(50, 62)], 1)
    torch.testing.assert_close(few, expected, rtol=1e-5, atol=1e-5)


def test_moving_turns_from_the_originals(llm: Any) -> None:
    cache = filled(llm, 50)
    expected = fed(llm, cache.fork(), tokens(1, 1))
    keys = cache.layers[0][0].keys_BNSH
    for shift in (1000, 31, 0):
        cache.move(torch.arange(50)[None, None] + shift)
        cache.next_B.fill_(50 + shift)
    assert cache.layers[0][0].keys_BNSH is keys
    assert torch.equal(fed(llm, cache.fork(), tokens(1, 1)), expected)
    cache.move(torch.arange(50)[None, None] + 1000)
    cache.next_B.fill_(1050)  # all distances stay
    torch.testing.assert_close(fed(llm, cache, tokens(1, 1)), expected, rtol=1e-3, atol=1e-3)


def test_a_failed_pass_leaves_the_cache_alone(llm: Any) -> None:
    cache = filled(llm, 50)
    with pytest.raises(IndexError):
        llm.extend(llm.embed(tokens(1, 4) + 1000), cache)
    before = list(cache.layers)
    step = llm.step(cache=cache, tokens=4)
    llm(llm.embed(tokens(1, 4)), step)  # never appended
    assert cache.layers == before
    assert cache.fed == 50


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bytes_are_what_the_allocator_says() -> None:
    llm = decoder(width=256, heads=4, kv_heads=2).to("cuda", torch.bfloat16)
    ids = tokens(1, 4096).to("cuda")
    fed(llm, llm.new_cache(), ids)  # what kernels keep for themselves
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    cache = llm.new_cache()
    fed(llm, cache, ids)
    grown = torch.cuda.memory_allocated() - before
    assert abs(grown - cache.bytes()) <= 64 * 1024
    keep = torch.arange(4096, device="cuda")[None, None] < 1024
    cache.keep(keep)
    grown = torch.cuda.memory_allocated() - before
    assert abs(grown - cache.bytes()) <= 64 * 1024


def test_a_fork_counts_on_from_what_was_fed(llm: Any) -> None:
    fork = filled(llm, 5, 3).fork()
    assert fork.fed == 8
    fed(llm, fork, tokens(1, 2))
    assert fork.fed == 10
    assert fork.index().flatten().tolist() == list(range(10))


def test_tokens_at_earlier_positions_do_not_turn_the_next_one_back(llm: Any) -> None:
    cache = filled(llm, 9)
    positions_BT = torch.tensor([[2, 3]])
    step = llm.step(positions_BT, cache=cache)
    llm(llm.embed(tokens(1, 2)), step)
    cache.append(step)
    assert cache.next_B.tolist() == [9]
    step = llm.step(positions_BT + 8, cache=cache)
    llm(llm.embed(tokens(1, 2)), step)
    cache.append(step)
    assert cache.next_B.tolist() == [12]


def test_the_next_position_counts_no_padding(llm: Any) -> None:
    cache = llm.new_cache(rows=2)
    real_BT = torch.tensor([[True, True, True], [True, False, False]])
    step = llm.step(torch.arange(3).expand(2, 3), cache=cache, valid_BT=real_BT)
    llm(llm.embed(tokens(2, 3)), step)
    cache.append(step)
    assert cache.next_B.tolist() == [3, 1]


@pytest.mark.parametrize("drop", [evicted, block_by_block])
def test_layers_at_the_same_positions_keep_their_own_entries(llm: Any, drop: Any) -> None:
    layers = filled(llm, 6).layers
    assert len({id(blocks[0].positions_BNS) for blocks in layers}) == 1
    keep = [torch.arange(6)[None, None] % 3 == layer for layer in range(len(layers))]
    left = {layer: blocks for layer, (*_, blocks) in enumerate(drop(layers, keep))}
    assert [left[layer][0].index_BNS.flatten().tolist() for layer in left] == [[0, 3], [1, 4], [2, 5]]
