"""Numbers that belong to entries and follow them through evictions, forks and saved contexts."""

from typing import NamedTuple

import torch
from torch import Tensor

from vxl.llm.cache import Cache


class Followed(NamedTuple):
    """A number of each entry that a layer held when it was noted."""

    index_BNS: Tensor
    """The column that each entry was fed as; -1 where there is none."""
    number_BNS: Tensor


def note(cache: Cache, layer: int, number_BNS: Tensor) -> Followed:
    """The numbers of what a layer holds now."""
    index_BNS = cache.index(layer).masked_fill(~cache.valid(layer), -1)
    return Followed(index_BNS.expand_as(number_BNS).contiguous(), number_BNS)


def numbers_now(cache: Cache, layer: int, known: Followed | None, heads: int, dtype: torch.dtype) -> Tensor:
    """The numbers of what a layer holds now, [B, heads, S]: those noted before, 0 for newer entries."""
    index_BNS = cache.index(layer).expand(-1, heads, -1)
    if known is None:
        return torch.zeros(index_BNS.shape, dtype=dtype, device=index_BNS.device)
    rows = cache.rows
    # One column more, in front, takes the numbers of what does not exist.
    every_BNF = torch.zeros(rows, heads, 1 + cache.fed, dtype=dtype, device=index_BNS.device)
    at_BNS = 1 + known.index_BNS.expand(rows, heads, -1)
    every_BNF.scatter_(2, at_BNS, known.number_BNS.expand(rows, heads, -1).to(dtype))
    return every_BNF.gather(2, 1 + index_BNS)


def forget_evicted(cache: Cache, layer: int, known: Followed) -> Followed:
    """The numbers of what a layer holds now, of those that it held before."""
    heads, dtype = known.number_BNS.shape[1], known.number_BNS.dtype
    return note(cache, layer, numbers_now(cache, layer, known, heads, dtype))
