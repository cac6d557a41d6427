"""Attention over two runs of keys: a run that every query of a tile sees, and one that it sees causally.

That is all that chunked prefill, questions and decoding need, and nothing is copied for it: in a chunk the
first run is the text and time text before its window, the second the window and the chunk itself; a question
or a decoded token has the video as the first and what came after it as the second. Online softmax as in
FlashAttention (arXiv 2205.14135); long runs are split among programs as in Flash-Decoding.

Letters: B rows · N key-value heads · T queries · S keys · H head width · M a tile's places. A place is a
query and one of the query heads that share a key-value head: token * group + head.
"""

from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2E = 1.4426950408889634


@triton.jit
def _absorb(q, k, v, visible, peak, total, acc, scale, MASKED: tl.constexpr):
    """Online softmax: takes in scores of a block of keys, k [H, BN] and v [BN, H]."""
    score = tl.dot(q, k) * scale
    if MASKED:
        score = tl.where(visible, score, float("-inf"))
    new_peak = tl.maximum(peak, tl.max(score, 1))
    weight = tl.exp2(score - new_peak[:, None])
    shrink = tl.exp2(peak - new_peak)
    total = total * shrink + tl.sum(weight, 1)
    acc = tl.dot(weight.to(v.dtype), v, acc * shrink[:, None])
    return new_peak, total, acc


@triton.jit(do_not_specialize=["splits"])
def _ranges(
    q, ka, va, kb, vb, cos, sin, out, lse, places, own, bounds, counts, scale,
    q_row, q_head, q_token, ka_row, ka_head, ka_key, va_row, va_head, va_key,
    kb_row, kb_head, kb_key, vb_row, vb_head, vb_key, angle_row,
    out_split, out_row, out_token, bounds_row, count_row, count_head, splits,
    GROUP: tl.constexpr, H: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    SPLIT: tl.constexpr, ROTATE: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    # `splits` is no constant: it varies with the length, and every value would be compiled anew.
    tile, kv = tl.program_id(0), tl.program_id(1)
    row, split = (tl.program_id(2) // splits).to(tl.int64), tl.program_id(2) % splits
    m, n, d = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, H)
    place = tl.load(places + tile * BM + m)
    column = tl.load(own + tile * BM + m)
    token, head = (place // GROUP).to(tl.int64), kv * GROUP + place % GROUP
    bounds += row * bounds_row + tile * 4
    a_stop, b_start = tl.load(bounds), tl.load(bounds + 1)
    b_stop, shift = tl.load(bounds + 2), tl.load(bounds + 3)
    if COUNT:  # heads have runs of lengths of their own
        a_stop = tl.load(counts + row * count_row + kv * count_head)
    queries = q + row * q_row + token[:, None] * q_token + head[:, None] * q_head
    query = tl.load(queries + d[None, :])
    ka += row * ka_row + kv * ka_head
    va += row * va_row + kv * va_head
    kb += row * kb_row + kv * kb_head
    vb += row * vb_row + kv * vb_head
    peak = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, H], tl.float32)
    low, high = 0, a_stop
    if SPLIT:  # the last one takes the second run alone
        each = tl.cdiv(tl.cdiv(a_stop, splits - 1), BN) * BN
        low, high = split * each, tl.minimum(split * each + each, a_stop)
        if split < splits - 1:
            b_stop = b_start
    if ROTATE:
        half = tl.arange(0, H // 2)
        query1 = tl.load(queries + half[None, :])
        query2 = tl.load(queries + H // 2 + half[None, :])
        cos += row * angle_row
        sin += row * angle_row
        for start in range(low, high, BN):
            key = start + n
            there = key < high
            c = tl.load(cos + key[:, None] * (H // 2) + half[None, :], mask=there[:, None], other=0.0)
            s = tl.load(sin + key[:, None] * (H // 2) + half[None, :], mask=there[:, None], other=0.0)
            source = ka + key[:, None] * ka_key + half[None, :]
            k1 = tl.load(source, mask=there[:, None], other=0.0).to(tl.float32)
            k2 = tl.load(source + H // 2, mask=there[:, None], other=0.0).to(tl.float32)
            c, s = c.to(tl.float32), s.to(tl.float32)
            first = (k1 * c - k2 * s).to(query.dtype)
            second = (k2 * c + k1 * s).to(query.dtype)
            score = tl.dot(query1, tl.trans(first))
            score = tl.dot(query2, tl.trans(second), score) * scale
            score = tl.where(there[None, :], score, float("-inf"))
            v = tl.load(va + key[:, None] * va_key + d[None, :], mask=there[:, None], other=0.0)
            new_peak = tl.maximum(peak, tl.max(score, 1))
            weight = tl.exp2(score - new_peak[:, None])
            shrink = tl.exp2(peak - new_peak)
            total = total * shrink + tl.sum(weight, 1)
            acc = tl.dot(weight.to(v.dtype), v, acc * shrink[:, None])
            peak = new_peak
    else:
        whole = low + tl.maximum(high - low, 0) // BN * BN
        for start in range(low, whole, BN):
            key = start + n
            k = tl.load(ka + key[None, :] * ka_key + d[:, None])
            v = tl.load(va + key[:, None] * va_key + d[None, :])
            peak, total, acc = _absorb(query, k, v, k, peak, total, acc, scale, False)
        for start in range(whole, high, BN):
            key = start + n
            there = key < high
            k = tl.load(ka + key[None, :] * ka_key + d[:, None], mask=there[None, :], other=0.0)
            v = tl.load(va + key[:, None] * va_key + d[None, :], mask=there[:, None], other=0.0)
            peak, total, acc = _absorb(query, k, v, there[None, :], peak, total, acc, scale, True)
    for start in range(b_start, b_stop, BN):
        key = start + n
        there = key < b_stop
        k = tl.load(kb + key[None, :] * kb_key + d[:, None], mask=there[None, :], other=0.0)
        v = tl.load(vb + key[:, None] * vb_key + d[None, :], mask=there[:, None], other=0.0)
        visible = key[None, :] <= shift + column[:, None]
        peak, total, acc = _absorb(query, k, v, visible, peak, total, acc, scale, True)
    result = acc / tl.where(total > 0.0, total, 1.0)[:, None]
    at = row * out_row + token * out_token + head * H
    if SPLIT:
        at += split.to(tl.int64) * out_split
        tl.store(lse + at // H, peak + tl.log2(total))
    tl.store(out + at[:, None] + d[None, :], result.to(out.dtype.element_ty))


@triton.jit(do_not_specialize=["splits"])
def _combine(part, lse, out, stride, splits, H: tl.constexpr, ROOM: tl.constexpr):
    at = tl.program_id(0).to(tl.int64)
    split, d = tl.arange(0, ROOM).to(tl.int64), tl.arange(0, H)
    there = split < splits
    weight = tl.load(lse + split * (stride // H) + at, mask=there, other=float("-inf"))
    weight = tl.exp2(weight - tl.max(weight, 0))
    weight = weight / tl.sum(weight, 0)
    parts = tl.load(part + split[:, None] * stride + at * H + d[None, :], mask=there[:, None], other=0.0)
    tl.store(out + at * H + d, tl.sum(parts * weight[:, None], 0).to(out.dtype.element_ty))


@dataclass(frozen=True, eq=False)
class Tiles:
    """Which queries go together, and which keys they see; on the device."""

    places_M: Tensor
    """int32, tile after tile; a last tile repeats its last place."""
    own_M: Tensor
    """int32: the column of each place's token, counted as `shift` does."""
    bounds: Tensor
    """int32 [tiles, 4], or [B, tiles, 4]: the first run's stop; the second's start and stop; what to add to a
    column to get the key's place in the second run."""
    size: int
    """Places of a tile."""

    @property
    def count(self) -> int:
        """Tiles."""
        return self.bounds.shape[-2]


def tile(
    runs: list[tuple[np.ndarray, np.ndarray, int, int]],
    shift: int,
    group: int,
    size: int,
    device: torch.device,
) -> Tiles:
    """Tiles of runs of queries that see alike.

    Args:
        runs: (query, its column, stop of the first run of keys, start of the second) each.
        shift: What to add to a column to get the place of the token's own key in the second run.
        group: Query heads a key-value head.
        size: Places of a tile.
        device: Where to put them.
    """
    places, own, bounds = [], [], []
    for query_Q, column_Q, a_stop, b_start in runs:
        place = (query_Q[:, None] * group + np.arange(group)).ravel()
        column = np.repeat(column_Q, group)
        fill = -len(place) % size
        place, column = (np.concatenate([x, np.repeat(x[-1:], fill)]) for x in (place, column))
        places.append(place)
        own.append(column)
        stops = column.reshape(-1, size).max(1) + shift + 1
        bounds += [(a_stop, b_start, int(stop), shift) for stop in stops]

    def send(array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array.astype(np.int32))
        if device.type == "cuda":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor

    return Tiles(send(np.concatenate(places)), send(np.concatenate(own)), send(np.array(bounds)), size)


def count_steps(counts_BN: Tensor | None) -> tuple[int, int]:
    """What to add to get to the count of the next row, and of the next key-value head."""
    if counts_BN is None:
        return 0, 0
    row, head = (counts_BN.stride(axis) if counts_BN.shape[axis] > 1 else 0 for axis in (0, 1))
    return row, head


def attend_ranges(
    query_BNTH: Tensor,
    a: tuple[Tensor, Tensor],
    b: tuple[Tensor, Tensor],
    tiles: Tiles,
    scaling: float | None,
    *,
    splits: int = 1,
    angles: tuple[Tensor, Tensor] | None = None,
    counts_BN: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Attention of the tiles' queries.

    Args:
        query_BNTH: [B, query heads, T, H], any strides but the last.
        a: Keys and values of the first run, [B or 1, N, S, H].
        b: Keys and values of the second run, [B or 1, N, S, H].
        tiles: Which queries, and what they see.
        scaling: Factor on the scores; None = H ** -0.5.
        splits: Programs among which a tile's keys are split, 1 or 3 and more; the last has the second run.
        angles: Half tables (cosine, sine) [B or 1, S, H / 2] to rotate the first run's keys by as they are
            read; None: they are rotated.
        counts_BN: Where each head's first run stops, int32 (B and N may be 1); None: where the tiles say.
        out: [B, T, query heads, H], contiguous, to write into.

    Returns:
        [B, T, query heads, H]; queries that are in no tile are left as they were.
    """
    rows, query_heads, tokens, width = query_BNTH.shape
    heads = a[0].shape[1]
    if out is None:
        out = query_BNTH.new_empty(rows, tokens, query_heads, width)
    stride = out.numel()
    part, lse = out, out
    if splits > 1:
        part = torch.empty(splits, stride, dtype=torch.float32, device=out.device)
        lse = torch.empty(splits, stride // width, dtype=torch.float32, device=out.device)

    def strides(x: Tensor) -> tuple[int, int, int]:
        return x.stride(0) if len(x) > 1 else 0, x.stride(1), x.stride(2)

    cos, sin = angles if angles is not None else (query_BNTH, query_BNTH)
    small = tiles.size <= 64
    _ranges[(tiles.count, heads, rows * splits)](
        query_BNTH, *a, *b, cos, sin, part, lse, tiles.places_M, tiles.own_M, tiles.bounds,
        tiles.bounds if counts_BN is None else counts_BN, (scaling or width**-0.5) * LOG2E,
        *strides(query_BNTH), *strides(a[0]), *strides(a[1]), *strides(b[0]), *strides(b[1]),
        cos.stride(0) if angles is not None and len(cos) > 1 else 0,
        stride, out.stride(0), out.stride(1), tiles.bounds.stride(0) if tiles.bounds.ndim == 3 else 0,
        *count_steps(counts_BN),
        splits, GROUP=query_heads // heads, H=width, BM=tiles.size, BN=64,
        SPLIT=splits > 1, ROTATE=angles is not None, COUNT=counts_BN is not None,
        num_warps=4 if small else 8, num_stages=3,
    )  # fmt: skip
    if splits > 1:
        _combine[(stride // width,)](
            part, lse, out, stride, splits, H=width, ROOM=triton.next_power_of_2(splits), num_warps=4
        )
    return out
