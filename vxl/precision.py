"""In which precision products are computed."""

import torch
from torch import Tensor


def kind_of(tensor: Tensor) -> torch.dtype:
    """The precision in which a matrix product reads a tensor: autocast's, where that is on."""
    device = tensor.device.type
    lower = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if lower else tensor.dtype
