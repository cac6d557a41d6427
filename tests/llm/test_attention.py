"""Our attention path gives plain transformers' numbers, however a sequence is cut and batched."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AttentionInterface

from tests.llm.tiny import FAMILIES, decoder, fed, plain, reference, tokens
from vxl.errors import ConfigError
from vxl.llm.attention.function import NAME, attend, register_attention
from vxl.llm.attention.step import Span, documents
from vxl.llm.attention.windows import Sight, Window, Windows
from vxl.llm.decoder import Decoder
from vxl.llm.rope import rotate

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=FAMILIES)
def llm(request: pytest.FixtureRequest) -> Any:
    return decoder(request.param)


@torch.no_grad()
def test_full_prefill_pieces_and_decoding_are_transformers(llm: Any) -> None:
    ids = tokens(2, 90)
    expected = reference(llm)(input_ids=ids).logits
    torch.testing.assert_close(plain(llm, ids), expected, **CLOSE)
    cache = llm.new_cache(rows=2)
    cuts = [0, 37, 70, 81, *range(82, 91)]
    got = [fed(llm, cache, ids[:, a:b]) for a, b in pairwise(cuts)]
    torch.testing.assert_close(torch.cat(got, 1), expected, **CLOSE)
    assert expected.std() > 0.5  # the comparison is about numbers that matter


@torch.no_grad()
def test_right_padding_changes_nothing(llm: Any) -> None:
    ids = tokens(2, 30)
    expected = plain(llm, ids[:1, :17])
    document = torch.zeros(2, 30, dtype=torch.int32)
    document[0, 17:] = -1
    got = plain(llm, ids, document_BT=document)
    torch.testing.assert_close(got[:1, :17], expected, **CLOSE)
    torch.testing.assert_close(got[1:], plain(llm, ids[1:]), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_packed_documents_are_single_documents(backend: str) -> None:
    llm = decoder(attention=backend)
    ids = tokens(2, 40)
    document = torch.tensor([[0] * 9 + [1] * 20 + [2] * 6 + [-1] * 5, [0] * 40], dtype=torch.int32)
    positions = torch.arange(40).repeat(2, 1)
    for start, stop in ((9, 29), (29, 35)):
        positions[0, start:stop] = torch.arange(stop - start)
    got = plain(llm, ids, positions_BT=positions, document_BT=document)
    for start, stop in ((0, 9), (9, 29), (29, 35)):
        alone = plain(llm, ids[:1, start:stop])
        torch.testing.assert_close(got[:1, start:stop], alone, **CLOSE)
    torch.testing.assert_close(got[1:], plain(llm, ids[1:]), **CLOSE)


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_packed_documents_never_see_each_other(backend: str) -> None:
    llm = decoder(attention=backend)
    document = torch.tensor([[0] * 9 + [1] * 20 + [-1] * 2], dtype=torch.int32)
    ids, other = tokens(1, 31), tokens(1, 31, seed=1)
    other[:, 9:29] = ids[:, 9:29]
    with torch.no_grad():
        one, two = (plain(llm, x, document_BT=document)[:, 9:29] for x in (ids, other))
    assert torch.equal(one, two)


def test_the_gradient_through_packed_documents_is_theirs_alone() -> None:
    llm = decoder()
    document = torch.tensor([[0] * 7 + [1] * 8 + [-1]], dtype=torch.int32)
    embeds = llm.embed(tokens(1, 16)).detach().requires_grad_()
    llm(embeds, llm.step(torch.arange(16)[None], document_BT=document))[:, 7:15].sum().backward()
    assert embeds.grad is not None
    touched = embeds.grad.abs().sum(-1)[0] > 0
    assert touched.tolist() == [False] * 7 + [True] * 8 + [False]


@torch.no_grad()
@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.booleans())
def test_any_cut_gives_the_same_numbers(lengths: list[int], memo: bool) -> None:
    llm = decoder()
    ids = tokens(1, sum(lengths), seed=sum(lengths))
    cache = llm.new_cache(memo=memo)
    got, start = [], 0
    for length in lengths:
        got.append(fed(llm, cache, ids[:, start : start + length]))
        start += length
    torch.testing.assert_close(torch.cat(got, 1), plain(llm, ids), **CLOSE)


@torch.no_grad()
@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 14), min_size=3, max_size=3), min_size=3, max_size=3))
def test_rows_of_different_lengths_are_rows_alone(lengths: list[list[int]]) -> None:
    llm = decoder()
    cache, alone = llm.new_cache(rows=3), [llm.new_cache() for _ in range(3)]
    for turn, counts in enumerate(lengths):
        width = max(*counts, 1)
        ids = tokens(3, width, seed=turn)
        valid = torch.arange(width) < torch.tensor(counts)[:, None]
        got = fed(llm, cache, ids, valid_BT=valid)
        for row, count in enumerate(counts):
            if count:
                expected = fed(llm, alone[row], ids[row : row + 1, :count])
                torch.testing.assert_close(got[row : row + 1, :count], expected, **CLOSE)
    assert cache.next_B.tolist() == [sum(counts[row] for counts in lengths) for row in range(3)]


@torch.no_grad()
def test_rows_that_share_a_past_are_rows_alone() -> None:
    llm = decoder()
    cache = llm.new_cache()
    fed(llm, cache, tokens(1, 50))
    fork = cache.fork(rows=3)
    for width in (20, 1, 4):
        ids = tokens(3, width, seed=width)
        got = fed(llm, fork, ids)
    for row in range(3):
        single = cache.fork()
        for width in (20, 1, 4):
            expected = fed(llm, single, tokens(3, width, seed=width)[row : row + 1])
        torch.testing.assert_close(got[row : row + 1], expected, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("dropped", [False, True])
def test_windows_are_the_mask_that_they_stand_for(dropped: bool) -> None:
    llm = decoder().double()
    ids = tokens(2, 60)
    always = np.array([0, 1, 2, 11, 12, 25, 33, 34, 41, 50])
    everything, late = np.array([0, 7, 8, 21]), 28
    others = np.setdiff1d(np.arange(30), everything)
    rows = tuple(Window((Sight(others, late + row), Sight(everything, 0)), always + row) for row in range(2))
    mask = torch.ones(2, 60, 60, dtype=torch.bool).tril()
    for row in range(2):
        for q in 30 + others:
            for k in range(late + row):
                mask[row, q, k] &= bool(k in always + row)
    cache = llm.new_cache(rows=2)
    fed(llm, cache, ids[:, :30])
    if dropped:  # other entries in each row and head
        keep = torch.rand(2, 2, 30, generator=torch.Generator().manual_seed(0)) > 0.3
        cache.keep(keep)
        dense = by_heads(llm, ids, mask, keep)
    else:
        additive = torch.zeros(2, 1, 60, 60, dtype=torch.float64).masked_fill(~mask[:, None], -1e30)
        dense = reference(llm)(input_ids=ids, attention_mask=additive).logits[:, 30:]
    got = fed(llm, cache, ids[:, 30:], windows=Windows(rows, 30))
    torch.testing.assert_close(got, dense, **CLOSE)


def by_heads(llm: Decoder, ids: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
    """Logits of the last 30 columns, where each key-value head lacks other entries of the first 30."""
    cache = llm.new_cache(rows=2)
    fed(llm, cache, ids[:, :30])
    step = llm.step(cache=cache, tokens=30)
    seen = mask[:, None, 30:].repeat(1, 2, 1, 1)
    seen[..., :30] &= keep[:, :, None]

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Any:
        block = cache.layers[module.layer_idx][0]
        q, k = (rotate(x, step.cos_BTH[:, None], step.sin_BTH[:, None]) for x in (query, key))
        keys, values = torch.cat((block.rotated_BNSH, k), 2), torch.cat((block.values_BNSH, value), 2)
        weights = seen.repeat_interleave(2, 1)
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=weights, enable_gqa=True)
        return out.transpose(1, 2), None

    AttentionInterface.register(NAME, attend)
    try:
        return llm.logits(llm(llm.embed(ids[:, 30:]), step))
    finally:
        register_attention()


@torch.no_grad()
def test_lower_precision_stays_close() -> None:
    llm = decoder()
    ids = tokens(1, 40)
    expected = plain(llm, ids)
    llm.bfloat16()
    cache = llm.new_cache()
    got = torch.cat([fed(llm, cache, ids[:, a:b]) for a, b in ((0, 33), (33, 39), (39, 40))], 1)
    assert got.dtype == torch.bfloat16
    assert (got - expected).abs().max() < 0.1 * expected.abs().max()


def test_autocast_runs() -> None:
    llm = decoder()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = plain(llm, tokens(1, 20))
    logits.float().sum().backward()
    assert all(parameter.grad is not None for parameter in llm.parameters())


def test_documents_of_a_batch() -> None:
    assert documents(torch.tensor([[0, 0, -1], [0, 0, 0]])) is None
    assert documents(torch.tensor([[0, 1, 1, -1], [0, 0, 0, 0]])) == (
        Span(0, 0, 1),
        Span(0, 1, 3),
        Span(1, 0, 4),
    )


@pytest.mark.parametrize(
    ("extra", "what"),
    [({"softcap": 30.0}, "caps"), ({"sliding_window": 8}, "window"), ({"dropout": 0.1}, "dropout")],
)
def test_attention_of_another_kind_is_refused(extra: dict[str, float], what: str) -> None:
    x = torch.zeros(1, 2, 4, 8)
    step = decoder().step(torch.arange(4)[None])
    with pytest.raises(ConfigError, match=what):
        attend(torch.nn.Identity(), x, x, x, None, step=step, **extra)
