"""GroupNorm of channels-last tensors, with a backward pass that reads as it writes: row by row.

PyTorch's own wants channels first, which copies there and back, and its backward starts a block of threads on
a GPU for every channel of every sample: with the 4 positions of a temporal attention it takes ten times as
long as the bytes need. (torch.compile writes a backward pass of its own, of PyTorch's norm.)
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.precision import product_dtype

EPS = 1e-6


class GroupNorm(nn.Module):
    """Statistics over axis 1 and each group of neighbouring channels, which are the last axis.

    Args:
        width: V, the channels.
        groups: Into how many groups they are divided; divides V.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, S, ..., V], normalised per N and ... over S; in the precision of the products behind it."""
        if torch.is_grad_enabled() and x.numel() and not torch.compiler.is_compiling():
            return _Normed.apply(x, self.weight, self.bias, self.groups, product_dtype(x))
        columns = x.movedim(1, -1)
        normed = F.group_norm(columns.flatten(0, -3), self.groups, self.weight, self.bias, EPS)
        return normed.view(columns.shape).movedim(-1, 1).contiguous()  # once, not in each product behind it


class _Normed(torch.autograd.Function):
    """The norm as x a + b, with factors a and b for each sample and channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
        ctx.groups, kind = rest
        precise = x.to(torch.promote_types(x.dtype, torch.float32))
        # First of every channel, then of a group's channels together: sums over axis 1 read straight on.
        spread, mean = torch.var_mean(precise, 1, correction=0, keepdim=True)
        middle = _of_groups(mean, ctx.groups)
        variance = _of_groups(spread + (mean - middle) ** 2, ctx.groups)
        scale = (variance + EPS).rsqrt()
        ctx.save_for_backward(x, weight, middle, scale)
        return torch.addcmul(bias - middle * scale * weight, precise, scale * weight).to(kind)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, middle, scale = ctx.saved_tensors
        given = gradients[0]
        kind = scale.dtype
        sums = given.sum(1, keepdim=True, dtype=kind)
        products = ((given * x).sum(1, keepdim=True, dtype=kind) - middle * sums) * scale
        # Of the normalised values; a group's mean, and its mean along those values, must not change.
        along_ones = _of_groups(sums * weight, ctx.groups) / x.shape[1]
        along_normed = _of_groups(products * weight, ctx.groups) / x.shape[1] * scale
        of_x = torch.addcmul(scale * (middle * along_normed - along_ones), x.to(kind), -scale * along_normed)
        of_x.addcmul_(given.to(kind), scale * weight)
        others = tuple(range(x.ndim - 1))
        return of_x.to(x.dtype), products.sum(others), sums.sum(others), None, None


def _of_groups(x: Tensor, groups: int) -> Tensor:
    """The mean of each group of channels, at each of its channels."""
    mean = x.unflatten(-1, (groups, -1)).mean(-1, keepdim=True)
    return mean.expand(*mean.shape[:-1], x.shape[-1] // groups).flatten(-2)
