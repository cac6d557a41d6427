"""Positions that count what stayed."""

import torch

from vxl.llm.cache import Cache


def close_up(cache: Cache) -> None:
    """Moves what each head holds together at its recent end, and the next position behind the longest head.

    The i-th of a head's n entries goes to `next - n + i`: heads and layers of other lengths differ at the old
    end alone, and where all have n, positions are 0 to n - 1.
    """
    layers = range(len(cache.layers))
    valid = [cache.valid(layer) for layer in layers]
    counts = [valid_BNS.sum(dim=-1) for valid_BNS in valid]
    next_B = torch.stack([count_BN.amax(dim=1) for count_BN in counts]).amax(dim=0)
    moved = {}
    for layer in layers:
        key = id(cache.layers[layer][0].positions_BNS) if len(cache.layers[layer]) == 1 else -1 - layer
        if key not in moved:
            rank_BNS = valid[layer].long().cumsum(dim=-1) - 1
            moved[key] = (next_B[:, None] - counts[layer])[..., None] + rank_BNS
    keys = [id(b[0].positions_BNS) if len(b) == 1 else -1 - n for n, b in enumerate(cache.layers)]
    cache.move([moved[key].clamp(min=0) for key in keys])
    cache.next_B = next_B
