"""How many entries each layer may hold: a fraction, a number of entries, or mebibytes."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vxl.kv.budget import budget
from vxl.kv.scored.columns import Columns

if TYPE_CHECKING:
    from vxl.kv.scored.config import ScoredConfig
    from vxl.llm.cache import Cache

MIB = 2**20


def share(count_B: Tensor, keep: float) -> Tensor:
    """So much of a count, rounded half up."""
    return (count_B.double() * keep + 0.5).floor().long()


def rooms_of(
    settings: "ScoredConfig", cache: "Cache", columns: Columns, until: int, *, per_head: bool
) -> list[Tensor]:
    """Entries that each layer's heads may hold of the first `until` columns, int64 [B] a layer."""
    layers = len(cache.layers)
    watched_B = columns.real_BF[:, :until].sum(dim=1)
    if settings.mib is not None:
        entries = int(settings.mib * MIB) // entry_bytes(cache, per_head=per_head)
        return [torch.full_like(watched_B, entries)] * layers
    fractions = [settings.layers[n] for n in range(layers)] if settings.layers else [settings.keep] * layers
    beside_B = torch.zeros_like(watched_B)
    if settings.of == "visual":
        visual_B = columns.visual_BF[:, :until].sum(dim=1)
        beside_B, watched_B = watched_B - visual_B, visual_B
    if settings.tokens is not None:
        return [budget(settings, watched_B)] * layers
    known = {keep: beside_B + share(watched_B, keep) for keep in set(fractions) if keep is not None}
    return [known[keep] for keep in fractions if keep is not None]


def entry_bytes(cache: "Cache", *, per_head: bool) -> int:
    """Bytes of the entries that one token has in all layers, where they stand included.

    Of the newest block of every layer; positions count for each head where heads keep entries of their own.
    """
    total = 0
    for blocks in cache.layers:
        block = blocks[-1]
        heads = block.keys_BNSH.shape[1] if per_head else 1
        wide = [block.keys_BNSH, block.values_BNSH, block.rotated_BNSH]
        total += sum(x.shape[1] * x.shape[3] * x.element_size() for x in wide if x is not None)
        total += heads * (block.positions_BNS.element_size() + block.index_BNS.element_size() + 1)
    return total
