"""What stands between the matrix products of a decoder's layer, each read and written once.

Numbers are those of transformers' modules: sums and products are rounded to the tensors' precision where
theirs are; only the rotation is rounded once and not three times.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _norm(x, add, weight, total, out, width, eps, ADD: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    i = tl.arange(0, BLOCK)
    there = i < width
    value = tl.load(x + row + i, mask=there, other=0.0).to(tl.float32)
    if ADD:
        value += tl.load(add + row + i, mask=there, other=0.0).to(tl.float32)
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + row + i, rounded, mask=there)
        value = rounded.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(value * value, 0) / width + eps)
    normed = (value * scale).to(total.dtype.element_ty).to(tl.float32)
    normed = normed * tl.load(weight + i, mask=there, other=0.0).to(tl.float32)
    tl.store(out + row + i, normed.to(out.dtype.element_ty), mask=there)


def rms_norm(
    x: Tensor, add: Tensor | None, weight: Tensor, eps: float, kind: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """(the RMS norm of x + add, x + add); without `add`, of x. The norm has the type `kind`, None = x's."""
    x = x.contiguous()
    add = None if add is None else add.contiguous()
    out, width = torch.empty_like(x, dtype=kind), x.shape[-1]
    total = x if add is None else torch.empty_like(x)
    block = triton.next_power_of_2(width)
    _norm[(x.numel() // width,)](
        x,
        x if add is None else add,
        weight,
        total,
        out,
        width,
        eps,
        ADD=add is not None,
        BLOCK=block,
        num_warps=8 if block >= 2048 else 4 if block >= 512 else 1,
    )
    return out, total


@triton.jit
def _gate(gate, up, out, count, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    g = tl.load(gate + i, mask=there, other=0.0).to(tl.float32)
    g = (g / (1.0 + tl.exp(-g))).to(out.dtype.element_ty).to(tl.float32)
    u = tl.load(up + i, mask=there, other=0.0).to(tl.float32)
    tl.store(out + i, (g * u).to(out.dtype.element_ty), mask=there)


def silu_times(gate: Tensor, up: Tensor, out: Tensor | None = None) -> Tensor:
    """silu(gate) * up, written into `out`, None = over `gate`."""
    gate, up = gate.contiguous(), up.contiguous()
    out = gate if out is None else out
    _gate[(triton.cdiv(gate.numel(), 4096),)](gate, up, out, gate.numel(), BLOCK=4096, num_warps=8)
    return out


@triton.jit
def _turn(
    x, cos, sin, out, heads, tokens,
    x_row, x_head, x_token, out_row, out_head, out_token, angle_row,
    HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64)
    row, token = at // tokens, at % tokens
    head = tl.arange(0, HEADS).to(tl.int64)[:, None]
    i = tl.arange(0, HALF)[None, :]
    there = (head < heads) & (i < HALF)
    c = tl.load(cos + row * angle_row + token * HALF + i).to(tl.float32)
    s = tl.load(sin + row * angle_row + token * HALF + i).to(tl.float32)
    source = x + row * x_row + token * x_token + head * x_head + i
    first = tl.load(source, mask=there, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=there, other=0.0).to(tl.float32)
    target = out + row * out_row + token * out_token + head * out_head + i
    tl.store(target, (first * c - second * s).to(out.dtype.element_ty), mask=there)
    tl.store(target + HALF, (second * c + first * s).to(out.dtype.element_ty), mask=there)


def rotated(x_BNTH: Tensor, cos_BTh: Tensor, sin_BTh: Tensor, out: Tensor | None = None) -> Tensor:
    """Heads rotated by half tables of angles (rows of the tables may be 1); any strides but the last."""
    out = torch.empty_like(x_BNTH) if out is None else out
    rows, heads, tokens, width = x_BNTH.shape
    angle_row = cos_BTh.stride(0) if len(cos_BTh) > 1 else 0
    _turn[(rows * tokens,)](
        x_BNTH, cos_BTh, sin_BTh, out, heads, tokens,
        x_BNTH.stride(0), x_BNTH.stride(1), x_BNTH.stride(2),
        out.stride(0), out.stride(1), out.stride(2), angle_row,
        HEADS=triton.next_power_of_2(heads), HALF=width // 2, num_warps=4 if heads > 8 else 1,
    )  # fmt: skip
    return out


@triton.jit
def _place(
    q, k, v, cos, sin, tail_k, tail_v, bounds,
    q_row, q_head, k_row, k_head, v_row, v_head, tail_row, tail_head, tail_token,
    QUERY_HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = tl.arange(0, HALF)
    c = tl.load(cos + row * HALF + i).to(tl.float32)
    s = tl.load(sin + row * HALF + i).to(tl.float32)
    if head < QUERY_HEADS:
        source = q + row * q_row + head * q_head + i
        target = source
    else:
        own = head - QUERY_HEADS
        place = tl.load(bounds + row * 4 + 3).to(tl.int64)
        source = k + row * k_row + own * k_head + i
        target = tail_k + row * tail_row + own * tail_head + place * tail_token + i
        value = v + row * v_row + own * v_head + i
        into = tail_v + row * tail_row + own * tail_head + place * tail_token + i
        tl.store(into, tl.load(value))
        tl.store(into + HALF, tl.load(value + HALF))
    first, second = tl.load(source).to(tl.float32), tl.load(source + HALF).to(tl.float32)
    tl.store(target, (first * c - second * s).to(tail_k.dtype.element_ty))
    tl.store(target + HALF, (second * c + first * s).to(tail_k.dtype.element_ty))


def place(
    query_BN1H: Tensor, key_BN1H: Tensor, value_BN1H: Tensor, cos_Bh: Tensor, sin_Bh: Tensor,
    tail_k_BNSH: Tensor, tail_v_BNSH: Tensor, bounds_B4: Tensor,
) -> None:  # fmt: skip
    """Rotates the queries where they are; puts the rotated keys and the values where `bounds` says."""
    rows, query_heads, _, width = query_BN1H.shape
    heads = key_BN1H.shape[1]
    _place[(rows, query_heads + heads)](
        query_BN1H, key_BN1H, value_BN1H, cos_Bh, sin_Bh, tail_k_BNSH, tail_v_BNSH, bounds_B4,
        query_BN1H.stride(0), query_BN1H.stride(1), key_BN1H.stride(0), key_BN1H.stride(1),
        value_BN1H.stride(0), value_BN1H.stride(1),
        tail_k_BNSH.stride(0), tail_k_BNSH.stride(1), tail_k_BNSH.stride(2),
        QUERY_HEADS=query_heads, HALF=width // 2, num_warps=1,
    )  # fmt: skip
