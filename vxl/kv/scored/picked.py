"""What fills a layer's free places, of scores."""

import torch
from torch import Tensor

from vxl.kv.scored.entries import Entries
from vxl.kv.scored.ranking import chosen


def picked(entries: Entries, score_BNS: Tensor, sure_BNS: Tensor | None = None) -> Tensor:
    """The entries with the best scores that fill a layer's free places, the sure ones before them."""
    heads = max(score_BNS.shape[1], entries.open_BNS.shape[1])
    score_BNS, open_BNS = score_BNS.expand(-1, heads, -1), entries.open_BNS.expand(-1, heads, -1)
    sure_BNS = torch.zeros_like(open_BNS) if sure_BNS is None else sure_BNS.expand_as(open_BNS)
    return chosen(score_BNS, open_BNS, sure_BNS, entries.free_BN1)
