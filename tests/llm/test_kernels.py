"""The Triton kernels against plain PyTorch: on a GPU, or where Triton is installed in its interpreter.

TRITON_INTERPRET=1 python -m pytest tests/llm/test_kernels.py
"""

import os
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the kernels need a GPU, or TRITON_INTERPRET=1", allow_module_level=True)

from tests.llm.tiny import decoder
from tests.small_model import frames, head, model, video
from vxl.generate import watch
from vxl.generate.asking import feed_questions
from vxl.generate.decoding import decoding
from vxl.generate.watching import layout_of
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.kv.knorm import KnormConfig
from vxl.kv.random import RandomConfig
from vxl.kv.scored.ranking import chosen
from vxl.kv.vst import VST, VSTConfig
from vxl.llm import decoder as decoders
from vxl.llm import fused
from vxl.llm.attention import function as attention
from vxl.llm.decoder import DecoderConfig
from vxl.llm.kernels import steps
from vxl.llm.kernels.entries import places_taken, taken
from vxl.llm.kernels.pointwise import place, rms_norm, rotated, silu_times
from vxl.llm.kernels.ranges import attend_ranges, tile
from vxl.llm.kernels.ranks import best, ranked, seen_places
from vxl.llm.replay import Tail
from vxl.llm.rope import rotate
from vxl.prefill.chunked import ChunkedConfig
from vxl.prefill.full import Full, FullConfig
from vxl.prefill.summarizing import Summarizing
from vxl.sequence.piece import Piece

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
BOUND = 2e-2 if DEVICE.type == "cuda" else 1e-5
H = 64


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, TYPE)


def close(got: Tensor, expected: Tensor) -> None:
    error = (got.double() - expected.double()).norm() / expected.double().norm()
    assert error < BOUND, error


def dense(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """[B, T, query heads, H] by a mask."""
    q, k, v = query.double(), key.double(), value.double()
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen.to(DEVICE), enable_gqa=True)
    return out.transpose(1, 2)


def half(positions: Tensor) -> tuple[Tensor, Tensor]:
    angle = positions[..., None].to(DEVICE, torch.float32) * 100.0 ** -torch.linspace(0, 1, H // 2).to(DEVICE)
    return angle.cos().to(TYPE), angle.sin().to(TYPE)


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("rotate_a", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_two_runs_of_keys(splits: int, rotate_a: bool, rows: int) -> None:
    tokens, a_keys, before = 37, 150, 21
    query = rand(rows, tokens, 6, H).transpose(1, 2)
    ka, va = rand(1, 2, a_keys, H, seed=1), rand(1, 2, a_keys, H, seed=2)
    kb, vb = (
        rand(rows, before + tokens, 2, H, seed=3).transpose(1, 2),
        rand(rows, 2, before + tokens, H, seed=4),
    )
    every = np.arange(tokens)
    runs = [(every[:20], every[:20], 70, 3), (every[20:], every[20:], a_keys, 10)]
    seen = torch.zeros(tokens, a_keys + before + tokens, dtype=torch.bool)
    for q in range(tokens):
        stop, start = (70, 3) if q < 20 else (a_keys, 10)
        seen[q, :stop] = True
        seen[q, a_keys + start : a_keys + before + q + 1] = True
    cos, sin = half(torch.arange(a_keys)[None])
    keys_a = ka
    if rotate_a:
        keys_a = rotate(ka.float(), *(torch.cat((x, x), -1)[:, None].float() for x in (cos, sin))).to(TYPE)
    keys = torch.cat((keys_a.expand(rows, -1, -1, -1), kb), 2)
    values = torch.cat((va.expand(rows, -1, -1, -1), vb), 2)
    tiles = tile(runs, before, 3, 16, DEVICE)
    angles = (cos, sin) if rotate_a else None
    got = attend_ranges(query, (ka, va), (kb, vb), tiles, None, splits=splits, angles=angles)
    close(got, dense(query, keys, values, seen))


def test_pointwise() -> None:
    x, add, weight = rand(5, 7, 100), rand(5, 7, 100, seed=1), rand(100, seed=2)
    normed, total = rms_norm(x, add, weight, 1e-6)
    close(total, x + add)
    close(normed, F.rms_norm((x + add).float(), (100,), weight.float(), 1e-6))
    close(rms_norm(x, None, weight, 1e-6)[0], F.rms_norm(x.float(), (100,), weight.float(), 1e-6))
    close(silu_times(x.clone(), add), F.silu(x.float()) * add.float())


def test_rotation_takes_any_strides() -> None:
    x = rand(2, 5, 3, H).transpose(1, 2)
    cos, sin = half(torch.arange(10).view(2, 5))
    expected = rotate(x.float(), *(torch.cat((t, t), -1)[:, None].float() for t in (cos, sin)))
    close(rotated(x, cos, sin), expected)
    into = torch.zeros(2, 3, 9, H, dtype=TYPE, device=DEVICE)
    rotated(x, cos, sin, into[:, :, 2:7])
    close(into[:, :, 2:7], expected)
    assert not into[:, :, 7:].any()


def test_new_tokens_are_put_where_they_belong() -> None:
    query, key, value = rand(2, 1, 6, H), rand(2, 1, 2, H, seed=1), rand(2, 1, 2, H, seed=2)
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    cos, sin = half(torch.tensor([4, 9]))
    bounds = torch.tensor([[0, 0, 4, 3], [0, 0, 6, 5]], dtype=torch.int32, device=DEVICE)
    tail_k, tail_v = (torch.zeros(2, 2, 8, H, dtype=TYPE, device=DEVICE) for _ in range(2))
    angles = [torch.cat((t, t), -1)[:, None, None].float() for t in (cos, sin)]
    expected_q, expected_k = rotate(query.float(), *angles), rotate(key.float(), *angles)
    place(query, key, value, cos, sin, tail_k, tail_v, bounds)
    close(query, expected_q)
    for row, at in enumerate((3, 5)):
        close(tail_k[row, :, at], expected_k[row, :, 0])
        close(tail_v[row, :, at], value[row, :, 0])
        assert int((tail_k[row] != 0).any(-1).sum()) == 2


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.skipif(DEVICE.type == "cuda", reason="half precision there: tests/llm/test_gpu.py")
@pytest.mark.parametrize("time_rows", ["all", "window"])
@pytest.mark.parametrize(
    "settings",
    [KeepAllConfig(), RandomConfig(keep=0.5, per_head=True), KnormConfig(keep=0.3, protect="sinks")],
    ids=lambda settings: type(settings).__name__,
)
def test_a_whole_model_in_full_precision(
    time_rows: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = isinstance(settings, KeepAllConfig)  # heads of their own are what the others are for
    llm = DecoderConfig(
        vocab=97, width=128 * (2 - shared), mlp=96, heads=4 - 2 * shared, kv_heads=2 - shared, layers=2
    )
    prefill = ChunkedConfig(
        groups=16, groups_per_chunk=2, previous_chunks=1, chunks_per_pass=3, time_rows=time_rows
    )
    m = model(llm=llm, prefill=prefill, kv=settings)
    said = torch.randint(0, 97, (3, 3), generator=torch.Generator().manual_seed(0))

    def scores() -> Tensor:
        context = watch(m, head(video(24)), [frames(96)])
        cache = context.cache.fork(3)
        feed_questions(context, cache, [[5, 6, 8], [9], [11, 12, 13, 14]], None)
        with decoding(m, context.cache, cache, len(said)) as step:
            return torch.stack([step(next_B).clone() for next_B in said])

    expected = scores()
    for module in (attention, decoders, fused, steps):
        monkeypatch.setattr(module, "usable", lambda tensor: True)

    def without_a_graph(tail: Tail, tokens_B: Tensor) -> Tensor:
        tail.tokens_B1.copy_(tokens_B[:, None])
        return tail.step()

    monkeypatch.setattr(Tail, "__call__", without_a_graph)
    torch.testing.assert_close(scores(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(("letters", "longest"), [(["q", "k", "v"], 512), (["q", "k", "v", "o", "mlp"], 0)])
def test_summary_tokens_through_the_kernels(letters: Any, longest: int, monkeypatch: Any) -> None:
    """Continuations longer than `longest` go through PyTorch's attention, others through ours."""
    llm = decoder(width=2 * H, heads=2, kv_heads=1, layers=2).to(DEVICE)
    vst = VST(VSTConfig(ratio=3, groups=6, projections=letters))
    vst.equip(llm)
    for name, parameter in llm.named_parameters():
        if "beacon" in name:
            parameter.add_(rand(*parameter.shape).to(parameter.dtype), alpha=0.1)
    llm.to(TYPE)
    encoded = head(video(54))  # 9 windows, more than are left in blocks of their own
    host, length = layout_of(encoded), len(encoded)
    embeds = llm.embed(torch.tensor([encoded.tokens], device=DEVICE) % 97)
    embeds = embeds + rand(*embeds.shape)

    def memory() -> Tensor:
        windows, cache = Summarizing(Full(FullConfig()), vst, 0), llm.new_cache(memo=False)
        for start, stop in pairwise((0, 50, 300, length)):
            part = host.slice(start, stop)
            windows.feed(llm, vst, cache, Piece(embeds[:, start:stop], part.to(DEVICE), host=part))
        windows.finish(llm, vst, cache)
        assert len(cache.layers[0]) < 9
        last = llm.extend(embeds[:, :20], cache)
        keys = torch.cat([block.rotated(llm.rotary) for block in cache.layers[-1]], 2)
        return torch.cat([keys.flatten(), last.flatten()])

    ran: list[int] = []
    run = fused.run_body
    monkeypatch.setattr(fused, "run_body", lambda *args: (ran.append(1), run(*args))[1])
    monkeypatch.setattr(steps, "QUESTION", longest)
    found = {}
    for ours in (True, False):
        for module in (attention, fused, decoders, steps):
            monkeypatch.setattr(module, "usable", lambda tensor, ours=ours: ours)
        found[ours] = memory()
        assert bool(ran) is ours
        ran.clear()
    close(found[True], found[False])


@pytest.mark.parametrize("shared", [False, True])
def test_taking_entries_head_by_head(shared: bool) -> None:
    heads, first, entries, most = 1 if shared else 3, 50, 71, 40
    made = torch.Generator().manual_seed(5)
    keys, values = rand(1, 3, entries, H), rand(1, 3, entries, H, seed=1)
    order = torch.stack([torch.randperm(entries, generator=made)[:most] for _ in range(heads)])[None]
    counts = torch.tensor([[40, 33, 1][:heads]])
    order, counts = (x.to(DEVICE, torch.int32) for x in (order, counts))
    positions = torch.randint(0, 90, (1, heads, entries), generator=made).to(DEVICE)
    table = half(torch.arange(90))
    turned = rotate(keys.float(), *(torch.cat((t, t), -1)[positions].float() for t in table))
    parts = [x.split([first, entries - first], dim=2) for x in (keys, values)]
    plain = taken(*parts, order, rows=1, count_BN=counts)
    turning = taken([keys], None, order, rows=1, count_BN=counts, positions_BNS=positions, table=table)
    for n in range(3):
        own = min(n, heads - 1)
        places = order[0, own, : int(counts[0, own])].long()
        for got, expected in ((plain[0], keys), (plain[1], values), (turning[0], turned)):
            assert got is not None
            close(got[0, n, : len(places)], expected[0, n, places])
    whole, _ = taken([keys], None, None, rows=1, positions_BNS=positions, table=table, dtype=torch.float32)
    close(whole, turned)


@pytest.mark.parametrize("entries", [7, 300, 5000])
def test_the_best_scores_are_those_of_a_sort(entries: int) -> None:
    made = torch.Generator().manual_seed(entries)
    score = (torch.randn(9, entries, generator=made) * 3).round().to(DEVICE)  # many ties
    score[1], score[2, 0], score[3] = 0.0, torch.nan, -torch.inf
    score[4, ::2] = -0.0
    among = (torch.rand(9, entries, generator=made) < 0.8).to(DEVICE)
    score = score.masked_fill(~among, -torch.inf)
    count = torch.tensor([0, 3, 2, 4, entries, entries - 3, entries // 2, 1, -2]).to(DEVICE)
    places = torch.stack([row.argsort(descending=True, stable=True).argsort() for row in score])
    assert torch.equal(best(score, among, count), among & (places < count[:, None]))


@pytest.mark.parametrize("shared", [False, True])
def test_places_of_entries_of_two_blocks(shared: bool) -> None:
    made = torch.Generator().manual_seed(1)
    heads = 1 if shared else 3
    index = torch.randint(0, 999, (1, heads, 60), generator=made).to(DEVICE)
    later = torch.arange(60, 90).to(DEVICE)[None, None]
    order = torch.stack([torch.randperm(90, generator=made)[:50] for _ in range(heads)])[None]
    order = order.to(DEVICE, torch.int32)
    got = places_taken([index * 2, later * 2], [index, later], order)
    whole = torch.cat((index, later.expand(-1, heads, -1)), -1).gather(-1, order.long())
    assert torch.equal(got[0], 2 * whole)
    assert torch.equal(got[1], whole)


@pytest.mark.parametrize("entries", [9, 700])
@pytest.mark.parametrize("sure", [0.0, 0.1, 0.9])
def test_what_stays_is_what_the_ranking_says(entries: int, sure: float) -> None:
    made = torch.Generator().manual_seed(entries)
    score = (torch.randn(1, 4, entries, generator=made) * 3).round().to(DEVICE)
    protected = (torch.rand(1, 1, entries, generator=made) < 0.2).to(DEVICE)
    early = (torch.rand(1, 1, entries, generator=made) < sure).to(DEVICE)
    for wanted in (int(protected.sum()), (entries + int(protected.sum())) // 2, entries):
        free = torch.tensor([[[wanted]]], device=DEVICE) - protected.sum(-1, keepdim=True)
        among = ~protected.expand(-1, 4, -1)
        kept = protected | chosen(score, among, early.expand(-1, 4, -1), free)
        order = ranked(score[0], protected[0], early[0] if sure else None, wanted)
        expected = torch.stack([row.nonzero()[:, 0] for row in kept[0]])
        assert torch.equal(order.long(), expected)


def test_columns_that_are_seen() -> None:
    made = torch.Generator().manual_seed(2)
    index = torch.stack([torch.randperm(500, generator=made)[:300].sort().values for _ in range(3)]).to(
        DEVICE
    )
    table = (torch.rand(500, generator=made) < 0.4).to(DEVICE)
    order, count = seen_places(index, table, 290)
    for row in range(3):
        expected = table[index[row]].nonzero()[:, 0]
        assert torch.equal(order[row, : int(count[row])].long(), expected)
