"""GroupNorm of channels-last tensors: PyTorch's numbers and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.compressor.group_norm import GroupNorm


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 + 3 * torch.randn(*shape, dtype=torch.float64, generator=generator)


def made(width: int, groups: int) -> GroupNorm:
    norm = GroupNorm(width, groups).double()
    with torch.no_grad():
        norm.weight.copy_(noise(width, seed=1))
        norm.bias.copy_(noise(width, seed=2))
    return norm


@pytest.mark.parametrize("shape", [(3, 7, 24), (2, 4, 5, 24), (2, 1, 5, 24)])
def test_it_is_pytorchs(shape: tuple[int, ...]) -> None:
    norm, x = made(24, 8), noise(*shape).requires_grad_()
    columns = x.movedim(1, -1)
    exact = F.group_norm(columns.flatten(0, -3), 8, norm.weight, norm.bias, 1e-6)
    exact = exact.view(columns.shape).movedim(-1, 1)
    got, inputs, way = norm(x), (x, norm.weight, norm.bias), noise(*shape, seed=3)
    torch.testing.assert_close(got, exact, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), exact, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad(y, inputs, way) for y in (got, exact))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_its_gradient_is_its_derivative() -> None:
    norm, x = made(8, 4), noise(2, 3, 2, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: norm(x), (x, norm.weight, norm.bias))


def test_it_gives_what_products_read() -> None:
    norm, x = GroupNorm(24, 8), noise(2, 5, 24).float()
    exact = norm(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = norm(x)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, exact.bfloat16())
    lower = norm.bfloat16()(x.bfloat16())
    torch.testing.assert_close(lower.float(), exact, rtol=2e-2, atol=2e-2)
