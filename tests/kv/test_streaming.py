import pytest
import torch

from tests.llm.tiny import decoder, fed, plain, reference, tokens
from vxl.errors import ConfigError
from vxl.kv.streaming import Streaming, StreamingConfig
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


def test_the_budget_holds_in_every_layer() -> None:
    llm, policy = decoder(), Streaming(StreamingConfig(tokens=20, sinks=3))
    cache = llm.new_cache()
    fed(llm, cache, tokens(1, 50))
    policy.after_chunk(cache, Piece(torch.empty(0), Layout.text(1, 50)))
    for count in range(51, 60):
        assert [cache.entries(layer) for layer in range(3)] == [20] * 3
        assert cache.index().flatten().tolist() == [0, 1, 2, *range(count - 18, count - 1)]
        fed(llm, cache, tokens(1, 1))
        policy.after_decode(cache)
    assert cache.next_B.tolist() == [59]


def test_memory_is_the_budget_and_not_the_length() -> None:
    llm, policy = decoder(), Streaming(StreamingConfig(tokens=40))
    sizes = []
    cache = llm.new_cache()
    for _ in range(6):
        fed(llm, cache, tokens(1, 50))
        policy.after_decode(cache)
        sizes.append(cache.bytes())
    assert len(set(sizes[1:])) == 1


def test_a_budget_that_is_never_reached_changes_no_bit() -> None:
    llm, policy = decoder(), Streaming(StreamingConfig(tokens=100))
    with_policy, without = llm.new_cache(), llm.new_cache()
    for width in (40, 30, 1, 1, 5):
        ids = tokens(1, width)
        assert torch.equal(fed(llm, with_policy, ids), fed(llm, without, ids))
        policy.after_decode(with_policy)


def test_it_is_the_mask_of_sinks_and_window() -> None:
    llm, policy = decoder(), Streaming(StreamingConfig(tokens=12, sinks=2, compact=False))
    ids, cache, got = tokens(1, 60), llm.new_cache(), []
    mask = torch.zeros(60, 60, dtype=torch.bool)
    start, kept = 0, []
    for width in (7, 11, 20, *[1] * 22):
        stop = start + width
        got.append(fed(llm, cache, ids[:, start:stop]))
        policy.after_decode(cache)
        for row in range(start, stop):
            mask[row, [*kept, *range(start, row + 1)]] = True
        kept = [*kept, *range(start, stop)]
        kept = kept if len(kept) <= 12 else [*kept[:2], *kept[-10:]]
        start = stop
    additive = torch.zeros(1, 1, 60, 60).masked_fill(~mask, -1e30)
    expected = reference(llm)(input_ids=ids, attention_mask=additive).logits
    torch.testing.assert_close(torch.cat(got, 1), expected, rtol=1e-5, atol=1e-5)
    assert (expected - plain(llm, ids)).abs().max() > 0.1


def test_closing_the_gap_is_counting_what_stayed() -> None:
    llm, policy = decoder().double(), Streaming(StreamingConfig(tokens=16, sinks=3))
    cache, counted = llm.new_cache(), llm.new_cache()
    fed(llm, cache, tokens(1, 50))
    fed(llm, counted, tokens(1, 50))
    keep = torch.arange(50)
    for number in range(6):
        policy.after_decode(cache)
        held = counted.entries()
        keep = (torch.arange(held) < 3) | (torch.arange(held) >= held - 13)
        counted.keep(keep[None, None])
        counted.move(torch.arange(16)[None, None])
        counted.next_B.fill_(16)
        ids = tokens(1, 1, seed=number)
        got, expected = fed(llm, cache, ids), fed(llm, counted, ids)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    gap = Streaming(StreamingConfig(tokens=16, sinks=3, compact=False))
    other = llm.new_cache()
    fed(llm, other, tokens(1, 50))
    gap.after_decode(other)
    policy.after_decode(cache)
    assert other.positions().flatten().tolist()[:4] == [0, 1, 2, 37]
    assert cache.positions().flatten().tolist()[:4] == [40, 41, 42, 43]


@pytest.mark.parametrize("compact", [True, False])
def test_rows_of_a_batch_are_rows_alone(compact: bool) -> None:
    llm, policy = decoder(), Streaming(StreamingConfig(tokens=16, sinks=3, compact=compact))
    lengths = torch.tensor([50, 9, 2])
    valid = torch.arange(50) < lengths[:, None]
    ids = tokens(3, 50)
    cache = llm.new_cache(rows=3)
    fed(llm, cache, ids, valid_BT=valid)
    alone = [llm.new_cache() for _ in range(3)]
    for row, single in enumerate(alone):
        fed(llm, single, ids[row : row + 1, : lengths[row]])
    for number in range(20):
        policy.after_decode(cache)
        more = tokens(3, 1, seed=number)
        got = fed(llm, cache, more)
        for row, single in enumerate(alone):
            policy.after_decode(single)
            expected = fed(llm, single, more[row : row + 1])
            torch.testing.assert_close(got[row : row + 1], expected, rtol=1e-4, atol=1e-4)
    assert cache.valid().sum(-1).flatten().tolist() == [17, 17, 17]


def test_a_budget_without_a_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="tokens=4 leaves no window behind sinks=4"):
        StreamingConfig(tokens=4, sinks=4)
