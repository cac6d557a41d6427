"""Taking entries of a cache: head by head its own, keys rotated on the way if need be.

Letters: B rows · N key-value heads · S entries held · V taken · H head width · P positions of a table.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

SIZE = 32
"""Entries of a program."""


LENGTHS = [
    "first",
    "total",
    "order_row",
    "order_head",
    "count_row",
    "count_head",
    "position_row",
    "position_head",
]
"""Numbers that vary from chunk to chunk: a kernel is not compiled anew for those that 16 divides."""


@triton.jit(do_not_specialize=LENGTHS)
def _take(
    k1, v1, k2, v2, order, count, positions, cos, sin, out_k, out_v, first, total,
    k1_row, k1_head, k1_key, v1_row, v1_head, v1_key,
    k2_row, k2_head, k2_key, v2_row, v2_head, v2_key,
    order_row, order_head, count_row, count_head, position_row, position_head,
    out_row, out_head,
    H: tl.constexpr, SIZE: tl.constexpr, ORDER: tl.constexpr, COUNT: tl.constexpr, TWO: tl.constexpr,
    ROTATE: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    head, row = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    stop = total
    if COUNT:
        stop = tl.load(count + row * count_row + head * count_head)
    there = at < stop
    half = tl.arange(0, H // 2)[None, :]
    entry = at.to(tl.int64)
    if ORDER:
        entry = tl.load(order + row * order_row + head * order_head + at, mask=there, other=0).to(tl.int64)
    key = k1 + row * k1_row + head * k1_head + entry * k1_key
    value = v1 + row * v1_row + head * v1_head + entry * v1_key
    if TWO:
        later = entry >= first
        behind = entry - first
        key = tl.where(later, k2 + row * k2_row + head * k2_head + behind * k2_key, key)
        value = tl.where(later, v2 + row * v2_row + head * v2_head + behind * v2_key, value)
    target = row * out_row + head * out_head + at.to(tl.int64)[:, None] * H + half
    mask = there[:, None] & (half < H)
    one = tl.load(key[:, None] + half, mask=mask, other=0.0)
    two = tl.load(key[:, None] + H // 2 + half, mask=mask, other=0.0)
    if ROTATE:
        source = positions + row * position_row + head * position_head + entry
        position = tl.load(source, mask=there, other=0).to(tl.int64)
        c = tl.load(cos + position[:, None] * (H // 2) + half, mask=mask, other=0.0).to(tl.float32)
        s = tl.load(sin + position[:, None] * (H // 2) + half, mask=mask, other=0.0).to(tl.float32)
        a, b = one.to(tl.float32), two.to(tl.float32)
        tl.store(out_k + target, (a * c - b * s).to(out_k.dtype.element_ty), mask=mask)
        tl.store(out_k + target + H // 2, (b * c + a * s).to(out_k.dtype.element_ty), mask=mask)
    else:
        tl.store(out_k + target, one.to(out_k.dtype.element_ty), mask=mask)
        tl.store(out_k + target + H // 2, two.to(out_k.dtype.element_ty), mask=mask)
    if VALUES:
        one = tl.load(value[:, None] + half, mask=mask, other=0.0)
        two = tl.load(value[:, None] + H // 2 + half, mask=mask, other=0.0)
        tl.store(out_v + target, one, mask=mask)
        tl.store(out_v + target + H // 2, two, mask=mask)


def taken(
    keys: Sequence[Tensor],
    values: Sequence[Tensor] | None,
    order_BNV: Tensor | None,
    *,
    rows: int,
    count_BN: Tensor | None = None,
    positions_BNS: Tensor | None = None,
    table: tuple[Tensor, Tensor] | None = None,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Keys and values of chosen entries, [B, N, V, H]; where a head has fewer, the rest is not written.

    Args:
        keys: Of one block or two, [B or 1, N, S, H] each, any strides but the last.
        values: As keys; None = none are wanted.
        order_BNV: Which entries, int32, counted through the blocks (N may be 1); None = all.
        rows: B.
        count_BN: How many each head takes; None = V.
        positions_BNS: Of all entries of one block (B and N may be 1), with `table`.
        table: Cosine and sine of every position, [P, H / 2]: keys are rotated by them. None = they are not.
        dtype: Of the keys; None = as they are.
        out: For the keys, contiguous but for the first axes.
    """
    heads, width = keys[0].shape[1], keys[0].shape[3]
    total = sum(key.shape[2] for key in keys) if order_BNV is None else order_BNV.shape[-1]
    out_k = keys[0].new_empty(rows, heads, total, width, dtype=dtype) if out is None else out
    out_v = None if values is None else values[0].new_empty(rows, heads, total, width)
    if not total:
        return out_k, out_v
    v = keys if values is None else values
    order = keys[0] if order_BNV is None else order_BNV
    count = keys[0] if count_BN is None else count_BN
    positions = keys[0] if positions_BNS is None else positions_BNS
    cos, sin = table if table is not None else (keys[0], keys[0])
    _take[(triton.cdiv(total, SIZE), heads, rows)](
        keys[0], v[0], keys[-1], v[-1], order, count, positions, cos, sin,
        out_k, out_k if out_v is None else out_v, keys[0].shape[2], total,
        *steps(keys[0], 3), *steps(v[0], 3), *steps(keys[-1], 3), *steps(v[-1], 3),
        *steps(order, 2), *steps(count, 2), *steps(positions, 2), out_k.stride(0), out_k.stride(1),
        H=width, SIZE=SIZE, ORDER=order_BNV is not None, COUNT=count_BN is not None, TWO=len(keys) > 1,
        ROTATE=table is not None, VALUES=values is not None, num_warps=4,
    )  # fmt: skip
    return out_k, out_v


@triton.jit(do_not_specialize=["first", "total", "order_row", "order_head", "out_head"])
def _places(
    p1, i1, p2, i2, order, out_p, out_i, first, total, row_1, head_1, row_2, head_2,
    order_row, order_head, out_row, out_head, SIZE: tl.constexpr, TWO: tl.constexpr,
):  # fmt: skip
    head, row = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    there = at < total
    entry = tl.load(order + row * order_row + head * order_head + at, mask=there, other=0).to(tl.int64)
    one = row * row_1 + head * head_1 + entry
    early = there & ((entry < first) | (not TWO))
    position = tl.load(p1 + one, mask=early, other=0)
    column = tl.load(i1 + one, mask=early, other=0)
    if TWO:
        two = row * row_2 + head * head_2 + entry - first
        late = there & (entry >= first)
        position = tl.where(late, tl.load(p2 + two, mask=late, other=0), position)
        column = tl.where(late, tl.load(i2 + two, mask=late, other=0), column)
    target = row * out_row + head * out_head + at
    tl.store(out_p + target, position, mask=there)
    tl.store(out_i + target, column, mask=there)


def places_taken(
    positions: Sequence[Tensor], index: Sequence[Tensor], order_BNV: Tensor
) -> tuple[Tensor, Tensor]:
    """Positions and columns of chosen entries of one block or two, int64 [B, N, V].

    Args:
        positions: Of each block, [B or 1, N or 1, S].
        index: As positions, with the same strides.
        order_BNV: Which entries, int32.
    """
    rows, heads = (max(t.shape[axis] for t in (*positions, order_BNV)) for axis in (0, 1))
    total = order_BNV.shape[2]
    out_p, out_i = (
        torch.empty(rows, heads, total, dtype=torch.int64, device=order_BNV.device) for _ in range(2)
    )
    _places[(triton.cdiv(total, 512), heads, rows)](
        positions[0], index[0], positions[-1], index[-1], order_BNV, out_p, out_i,
        positions[0].shape[2], total, *steps(positions[0], 2), *steps(positions[-1], 2),
        *steps(order_BNV, 2), out_p.stride(0), out_p.stride(1), SIZE=512, TWO=len(positions) > 1, num_warps=4,
    )  # fmt: skip
    return out_p, out_i


def steps(tensor: Tensor, axes: int) -> tuple[int, ...]:
    """Strides of the first axes; 0 where one row, or one head, stands for all."""
    axes_of_tensor = zip(tensor.stride(), tensor.shape, range(axes), strict=False)
    return tuple(stride if size > 1 else 0 for stride, size, _ in axes_of_tensor)
