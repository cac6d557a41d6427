"""A sliding window beside the first text, against attention pair by pair, as the formula has it."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kv.test_policies import policy
from tests.llm.tiny import FAMILIES, decoder, tokens
from tests.small_model import model
from vxl.errors import ConfigError
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.llm.attention.windows import Sliding
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.option.build import build
from vxl.prefill.chunked import ChunkedConfig
from vxl.prefill.full import Full, FullConfig
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

TEXT = 5
CUTS = (0, 3, 17, 18, 40)
"""Pieces: the first text in two of them, one of a single token, and one longer than the window."""


def watching(**settings: Any) -> Any:
    return policy("rekv", groups=3, **settings)


def layout_of(rows: int, width: int, text: int) -> Layout:
    layout = Layout.text(rows, width)
    kind_BT = torch.where(torch.arange(width) < text, Kind.TEXT, Kind.VISUAL).to(torch.uint8)
    kind_BT[width // 2] = Kind.TIME
    kind_BT[-1] = Kind.TEXT  # no first text: something else stands before it
    return replace(layout, kind_BT=kind_BT.expand(rows, -1))


def fed(llm: Decoder, local: int | None, ids_BT: Tensor, text: int, cuts: tuple[int, ...] = CUTS) -> Any:
    """(hidden states, the cache) of sequences that are watched in pieces."""
    kv = build(KeepAllConfig()) if local is None else build(watching(local=local))
    layout, cache = layout_of(*ids_BT.shape, text), llm.new_cache(rows=len(ids_BT))
    embeds = llm.embed(ids_BT)
    parts = [Piece(embeds[:, a:b], layout.slice(a, b)) for a, b in itertools.pairwise(cuts)]
    return torch.cat([build(FullConfig()).feed(llm, kv, cache, part) for part in parts], dim=1), cache


def by_formula(llm: Decoder, embeds_TD: Tensor, window: int, text: int) -> Tensor:
    """Token t meets token s at distance t - s where that is less than the window, a token of the first text
    that is further away at distance `window`, and no other."""
    body, width = llm.causal_lm.model, len(embeds_TD)
    distance = torch.arange(width)[:, None] - torch.arange(width)
    seen = (distance >= 0) & ((distance < window) | (torch.arange(width) < text))
    distance = distance.clamp(0, window)
    x = embeds_TD
    for layer in body.layers:
        attention, normed = layer.self_attn, layer.input_layernorm(x)
        q, k, v = (
            getattr(attention, f"{name}_proj")(normed).unflatten(1, (-1, attention.head_dim)).transpose(0, 1)
            for name in "qkv"
        )
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm(q), attention.k_norm(k)
        k, v = (part.repeat_interleave(len(q) // len(k), dim=0) for part in (k, v))
        # Each query turned for each of its distances; keys as they are.
        turned = llm.rotary.turn(q[:, :, None].expand(-1, -1, width, -1), distance)
        scores = (turned * k[:, None]).sum(dim=-1) * attention.scaling
        out = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1) @ v
        x = x + attention.o_proj(out.transpose(0, 1).flatten(1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return body.norm(x)


@torch.no_grad()
@pytest.mark.parametrize(("window", "text"), [(1, 5), (4, 5), (7, 5), (12, 5), (39, 5), (12, 0)])
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_see_the_window_and_the_first_text_at_one_distance(
    family: str, window: int, text: int
) -> None:
    llm, ids = decoder(family, layers=2).double(), tokens(1, 40)
    hidden, cache = fed(llm, window, ids, text)
    expected = by_formula(llm, llm.embed(ids)[0], window, text)
    # Angles are float32: of positions there, of distances here.
    torch.testing.assert_close(hidden[0], expected, rtol=1e-5, atol=1e-5)
    assert cache.entries() == 40  # nothing is lost
    # In a window of 39 the last of 40 tokens alone misses one, the first, which stands at its true distance.
    assert torch.allclose(hidden, fed(llm, None, ids, text)[0], atol=1e-5) == (window == 39)


@torch.no_grad()
def test_pieces_and_how_the_past_is_held_change_nothing() -> None:
    llm, ids = decoder(layers=2).double(), tokens(1, 40)
    expected = fed(llm, 12, ids, TEXT)[0]
    for cuts in ((0, 40), (0, 5, *range(6, 41))):
        torch.testing.assert_close(fed(llm, 12, ids, TEXT, cuts)[0], expected, rtol=1e-10, atol=1e-10)
    kv, cache, layout = build(watching(local=12, offload=True)), llm.new_cache(), layout_of(1, 40, TEXT)
    for a, b in itertools.pairwise(CUTS):
        Full(FullConfig()).feed(llm, kv, cache, Piece(llm.embed(ids[:, a:b]), layout.slice(a, b)))
    assert torch.equal(last_keys(cache), last_keys(fed(llm, 12, ids, TEXT)[1]))


def last_keys(cache: Cache) -> Tensor:
    return torch.cat([block.plain().keys_BNSH for block in cache.layers[-1]], dim=2)


@torch.no_grad()
def test_what_fits_the_window_is_watched_as_ever() -> None:
    llm, ids = decoder(layers=2), tokens(1, 40)
    assert torch.equal(fed(llm, 40, ids, TEXT)[0], fed(llm, None, ids, TEXT)[0])


@torch.no_grad()
def test_rows_are_rows_alone() -> None:
    """Rows with texts and pieces of other lengths."""
    llm, kv, texts = decoder("llama", layers=2).double(), build(watching(local=9)), (5, 2, 7)
    lengths = torch.tensor([[7, 20, 4], [7, 11, 4], [7, 1, 3]])
    ids, prefill = tokens(3, 31), build(FullConfig())
    layouts = [layout_of(1, 31, text) for text in texts]
    together = Layout(*(torch.cat([getattr(x, n) for x in layouts]) for n in vars(layouts[0])))
    cache, alone = llm.new_cache(rows=3), [llm.new_cache() for _ in range(3)]
    for number, (a, b) in enumerate(((0, 7), (7, 27), (27, 31))):
        real = torch.arange(b - a) < lengths[:, number, None]
        piece = Piece(llm.embed(ids[:, a:b]), together.slice(a, b), None if bool(real.all()) else real)
        hidden = prefill.feed(llm, kv, cache, piece)
        for row, own in enumerate(alone):
            stop = a + int(lengths[row, number])
            one = Piece(llm.embed(ids[row : row + 1, a:stop]), layouts[row].slice(a, stop))
            expected = prefill.feed(llm, kv, own, one)
            torch.testing.assert_close(hidden[row, : stop - a], expected[0], rtol=1e-10, atol=1e-10)


def test_pairs_are_those_of_the_formula() -> None:
    sliding = Sliding(7, (5,))
    for before, new in ((0, 4), (0, 40), (9, 5), (11, 1)):
        own = range(before, before + new)
        pairs = sum(t - s < 7 or s < 5 for t in own for s in range(t + 1))
        assert sliding.pairs(0, before, new) == pairs


def test_two_parts_cannot_both_say_what_tokens_see() -> None:
    with pytest.raises(ConfigError, match=r"prefill=chunked and kv=rekv kv\.local=8 both say"):
        model(kv=watching(local=8), prefill=ChunkedConfig())
    model(kv=watching(), prefill=ChunkedConfig())
    with pytest.raises(ConfigError, match="local=0 lets a token see nothing"):
        watching(local=0)
