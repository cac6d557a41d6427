"""The order in which whatever is counted is spread evenly, however many of it are taken."""

import torch
from torch import Tensor

BITS = 32


def reversed_bits(ordinal: Tensor) -> Tensor:
    """The 32 bits of whole numbers in reverse, int64: any n smallest of them are spread evenly.

    Example:
        >>> reversed_bits(torch.tensor([0, 1, 2])) / 2**32
        tensor([0.0000, 0.5000, 0.2500])
    """
    reversed_number = torch.zeros_like(ordinal)
    for bit in range(BITS):
        reversed_number |= ((ordinal >> bit) & 1) << (BITS - 1 - bit)
    return reversed_number
