"""The steps between a layer's matrix products with their gradients, for training.

Forward they are those of `vxl.llm.kernels.pointwise`. Backward each reads and writes every tensor once, too,
and no more is kept for it than what goes in: transformers' modules keep every intermediate of a norm and of a
gate, in float32 where that is how they compute.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from vxl.llm.kernels import pointwise

PROGRAMS = 1056
"""Sums of a norm's weight gradient that are made side by side: eight for each processor of a large GPU."""


@triton.jit
def _norm_back(
    x, weight, of_out, of_total, of_x, of_weight, rows, turns, width, eps,
    TOTAL: tl.constexpr, WEIGHT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.arange(0, BLOCK)
    there = i < width
    factor = tl.load(weight + i, mask=there, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    first = tl.program_id(0).to(tl.int64)
    for turn in range(turns):
        row = first + turn * tl.num_programs(0)
        at, real = row * width + i, there & (row < rows)
        value = tl.load(x + at, mask=real, other=0.0).to(tl.float32)
        grad = tl.load(of_out + at, mask=real, other=0.0).to(tl.float32)
        scale = 1.0 / tl.sqrt(tl.sum(value * value, 0) / width + eps)
        normed = value * scale
        if WEIGHT:
            total += grad * normed
        grad *= factor
        back = (grad - normed * (tl.sum(grad * normed, 0) / width)) * scale
        if TOTAL:
            back += tl.load(of_total + at, mask=real, other=0.0).to(tl.float32)
        tl.store(of_x + at, back.to(of_x.dtype.element_ty), mask=real)
    if WEIGHT:
        tl.store(of_weight + first * width + i, total, mask=there)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, add: Tensor | None, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        ctx.eps, kind = rest
        out, total = pointwise.rms_norm(x, add, weight, ctx.eps, kind)
        ctx.save_for_backward(total, weight)
        ctx.add = None if add is None else add.dtype
        ctx.set_materialize_grads(False)
        return out, total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (total, weight), (of_out, of_total) = ctx.saved_tensors, gradients
        learns = ctx.needs_input_grad[2]
        if of_out is None:  # the norm was not used
            return of_total, None if ctx.add is None else of_total.to(ctx.add), None, None, None
        of_out = of_out.contiguous()
        of_total = None if of_total is None else of_total.contiguous()
        width = total.shape[-1]
        rows, block = total.numel() // width, triton.next_power_of_2(width)
        programs = min(rows, PROGRAMS) if learns else rows
        of_x = torch.empty_like(total)
        sums = weight.new_empty((programs, width), dtype=torch.float32) if learns else of_x
        _norm_back[(programs,)](
            total, weight, of_out, of_x if of_total is None else of_total, of_x, sums,
            rows, triton.cdiv(rows, programs), width, ctx.eps,
            TOTAL=of_total is not None, WEIGHT=learns, BLOCK=block,
            num_warps=8 if block >= 2048 else 4 if block >= 512 else 1,
        )  # fmt: skip
        of_weight = sums.sum(0).to(weight.dtype) if learns else None
        return of_x, None if ctx.add is None else of_x.to(ctx.add), of_weight, None, None


def rms_norm(
    x: Tensor, add: Tensor | None, weight: Tensor, eps: float, kind: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """See `pointwise.rms_norm`; gradients flow to `x`, `add` and `weight`, through both results."""
    return _Norm.apply(x, add, weight, eps, kind)


@triton.jit
def _gate_back(gate, up, of_out, of_gate, of_up, count, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    g = tl.load(gate + i, mask=there, other=0.0).to(tl.float32)
    grad = tl.load(of_out + i, mask=there, other=0.0).to(tl.float32)
    share = 1.0 / (1.0 + tl.exp(-g))
    tl.store(of_up + i, (grad * g * share).to(of_up.dtype.element_ty), mask=there)
    grad *= tl.load(up + i, mask=there, other=0.0).to(tl.float32)
    tl.store(of_gate + i, (grad * share * (1.0 + g * (1.0 - share))).to(of_gate.dtype.element_ty), mask=there)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return pointwise.silu_times(gate, up, torch.empty_like(gate))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_out, count = gradients[0].contiguous(), gate.numel()
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        blocks = (triton.cdiv(count, 4096),)
        _gate_back[blocks](gate, up, of_out, of_gate, of_up, count, BLOCK=4096, num_warps=8)
        return of_gate, of_up


def silu_times(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    return _Gate.apply(gate.contiguous(), up.contiguous())


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return pointwise.rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        grad = gradients[0]
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        return pointwise.rotated(grad, cos, -sin), None, None


def rotated(x_BNTH: Tensor, cos_BTh: Tensor, sin_BTh: Tensor) -> Tensor:
    """See `pointwise.rotated`; gradients turn back."""
    return _Turn.apply(x_BNTH, cos_BTh, sin_BTh)
