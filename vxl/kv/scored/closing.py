"""Positions that count what stayed."""

from functools import partial

import torch

from vxl.llm.cache import Cache
from vxl.llm.memo import IdentityMemo


def close_up(cache: Cache) -> None:
    """Moves what each head holds together at its recent end, and the next position behind the longest head.

    The i-th of a head's n entries goes to `next - n + i`: heads and layers of other lengths differ at the old
    end alone, and where all have n, positions are 0 to n - 1.
    """
    layers = range(len(cache.layers))
    valid = [cache.valid(layer) for layer in layers]
    counts = [valid_BNS.sum(dim=-1) for valid_BNS in valid]
    next_B = torch.stack([count_BN.amax(dim=1) for count_BN in counts]).amax(dim=0)

    def places(layer: int) -> torch.Tensor:
        rank_BNS = valid[layer].long().cumsum(dim=-1) - 1
        return ((next_B[:, None] - counts[layer])[..., None] + rank_BNS).clamp(min=0)

    memo = IdentityMemo[torch.Tensor]()  # layers of one block share their positions
    keys = [blocks[0].positions_BNS if len(blocks) == 1 else n for n, blocks in enumerate(cache.layers)]
    cache.move([memo.get((keys[layer],), partial(places, layer)) for layer in layers])
    cache.next_B = next_B
