"""Numbers that belong to entries and follow them through evictions, forks and saved contexts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.kv.scored.entries import index_of, stacks, valid_of
from vxl.llm.cache import Cache


class Followed(NamedTuple):
    """A number of each entry that a layer held when it was noted."""

    index_BNS: Tensor
    """The column that each entry was fed as; -1 where there is none."""
    number_BNS: Tensor


def note(cache: Cache, layers: Sequence[int], number_BNS: Tensor) -> list[Followed]:
    """The numbers of what some layers hold now, as `stacks` has them: one behind the other on axis B."""
    index_BNS = index_of(cache, layers).masked_fill(~valid_of(cache, layers), -1).expand_as(number_BNS)
    parts = (x.contiguous().split(cache.rows) for x in (index_BNS, number_BNS))
    return [Followed(*own) for own in zip(*parts, strict=True)]


def numbers_now(
    cache: Cache, layers: Sequence[int], known: Sequence[Followed] | None, heads: int, dtype: torch.dtype
) -> Tensor:
    """The numbers of what some layers hold now, [B, heads, S]: those noted before, 0 for newer entries.

    Args:
        cache: Whose layers.
        layers: As `stacks` has them: one behind the other on axis B.
        known: What was noted of every layer of the cache; None = nothing.
        heads: N.
        dtype: Of the numbers.
    """
    index_BNS = index_of(cache, layers).expand(-1, heads, -1)
    if known is None:
        return torch.zeros(index_BNS.shape, dtype=dtype, device=index_BNS.device)
    own = [known[layer] for layer in layers]
    # Layers that hold as many entries now may have held different numbers of them when these were noted.
    most = max(layer.index_BNS.shape[-1] for layer in own)
    at_BNS, number_BNS = (
        torch.cat([as_wide(x, most, nothing).expand(cache.rows, heads, -1) for x in tensors])
        for tensors, nothing in zip(zip(*own, strict=True), (-1, 0), strict=True)
    )
    # One column more, in front, takes the numbers of what does not exist.
    every_BNF = torch.zeros(len(at_BNS), heads, 1 + cache.fed, dtype=dtype, device=index_BNS.device)
    every_BNF.scatter_(2, 1 + at_BNS, number_BNS.to(dtype))
    return every_BNF.gather(2, 1 + index_BNS)


def as_wide(x_BNS: Tensor, entries: int, nothing: int) -> Tensor:
    """A tensor over entries with so many of them: `nothing` stands behind what there is."""
    missing = entries - x_BNS.shape[-1]
    return F.pad(x_BNS, (0, missing), value=nothing) if missing else x_BNS


def forget_evicted(cache: Cache, known: Sequence[Followed]) -> tuple[Followed, ...]:
    """The numbers of what each layer holds now, of those that it held before."""
    left = [Followed(layer.index_BNS[..., :0], layer.number_BNS[..., :0]) for layer in known]
    for layers in stacks(cache, [n for n in range(len(known)) if cache.layers[n]]):
        heads, dtype = known[layers[0]].number_BNS.shape[1], known[layers[0]].number_BNS.dtype
        now = note(cache, layers, numbers_now(cache, layers, known, heads, dtype))
        for layer, own in zip(layers, now, strict=True):
            left[layer] = own
    return tuple(left)
