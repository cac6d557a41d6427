"""So much of a count: the rounding of every budget."""

from typing import overload

from torch import Tensor


@overload
def share(count: int, keep: float) -> int: ...
@overload
def share(count: Tensor, keep: float) -> Tensor: ...
def share(count: int | Tensor, keep: float) -> int | Tensor:
    """A fraction of a count, to the nearest whole number, halves upwards.

    Example:
        >>> share(10, 0.25), share(torch.tensor([10, 9]), 0.25)
        (3, tensor([3, 2]))
    """
    if isinstance(count, Tensor):
        return (count.double() * keep + 0.5).floor().long()
    return int(count * keep + 0.5)
