"""Kernels for a GPU in half precision, in Triton; all that they do is also done without.

Those of attention are for inference; those of the steps between the matrix products have gradients, too.

May enter: a kernel for what the rooms above compute in several passes over memory. Contract: numbers as
without it, within half precision.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from vxl.precision import product_dtype

HALF = (torch.float16, torch.bfloat16)
WIDTHS = (64, 128)
"""Widths of heads that the kernels of attention take."""
LONGEST = 1 << 15
"""Entries of a row that the kernels that rank them can hold at once."""


def usable(tensor: Tensor) -> bool:
    """Whether the kernels may work on a tensor: half precision on a GPU, and no gradient is wanted."""
    needs_gradient = torch.is_grad_enabled() and tensor.requires_grad
    return tensor.is_cuda and tensor.dtype in HALF and not needs_gradient and installed()


def differentiable(tensor: Tensor) -> bool:
    """Whether the kernels that have gradients may work on a tensor: products on a GPU in half precision."""
    return tensor.is_cuda and product_dtype(tensor) in HALF and installed()


@cache
def installed() -> bool:
    """Whether Triton is there and the GPU is one that it knows well (Ampere or later)."""
    if find_spec("triton") is None or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability() >= (8, 0)
