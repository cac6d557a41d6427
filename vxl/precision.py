"""In which precision products are computed."""

import torch
from torch import Tensor


def product_dtype(tensor: Tensor) -> torch.dtype:
    """The precision in which a matrix product reads a tensor: autocast's, where that is on."""
    device = tensor.device.type
    lower = device != "meta" and torch.is_autocast_enabled(device)  # which refuses to say of outlines
    return torch.get_autocast_dtype(device) if lower else tensor.dtype


def at_least_single(tensor: Tensor) -> Tensor:
    """The tensor in float32 where it is of half precision: norms of half precision tie too often."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
