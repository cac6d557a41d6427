"""Heavy hitters stay: entries that all tokens so far have attended to, and the newest."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.attention import EVERY, attention
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries, stacks
from vxl.kv.scored.followed import Followed, forget_evicted, note, numbers_now
from vxl.kv.scored.policy import Scored
from vxl.kv.scored.ranking import newest
from vxl.llm.cache import Cache

SUMS = "kv.h2o"
"""Where a cache notes each layer's sums of attention."""


@dataclass(frozen=True, kw_only=True)
class H2OConfig(ScoredConfig):
    """The entries stay that have had most attention so far, and the newest, in every head its own."""

    _target_: str = "vxl.kv.h2o.H2O"
    at: Literal["chunks"] = "chunks"
    """After each piece of the prefill. As published: with decode_every=1, too."""
    recent: float = 0.5
    """Part of the places behind what is protected that the newest entries have."""
    average: bool = False
    """Whether an entry's attention is divided by the tokens that came since: sums favour old entries."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.recent <= 1:
            raise ConfigError(f"recent={self.recent} is no part.\n  allowed: 0 to 1\n  e.g.  recent=0.5")


class H2O(Scored):
    """Score: a_e, the attention of all tokens so far on an entry, summed over them and over the query heads
    of its key-value head; and the newest `recent` of the places are sure.

    H2O (arXiv 2306.14048, section 4; FMInference/H2O, h2o_hf/utils_real_drop/modify_llama.py, whose class has
    no grouped queries). A token's attention is over what was held when it came, softmax over all of it. With
    average=true recent=0 it is kvpress' ObservedAttentionPress: mean over query heads, divided by the tokens
    that came since, the entry itself included. Sums follow their entries through evictions.
    """

    observers = EVERY
    together = True

    def __init__(self, config: H2OConfig) -> None:
        super().__init__(config)
        self.recent = config.recent
        self.average = config.average

    @override
    def take_in(self, cache: Cache, columns: Columns) -> None:
        """Adds the attention of the newest pass."""
        earlier = cache.state.get(SUMS)
        nothing = torch.empty(0)
        sums: list[Followed] = []
        for layers in stacks(cache):
            # The weights of all tokens on all that is held are many: layer by layer.
            own = [attention(Entries(cache, layer, columns, nothing, nothing)).sum(dim=2) for layer in layers]
            new_BNS = torch.cat(own)
            old_BNS = numbers_now(cache, layers, earlier, new_BNS.shape[1], new_BNS.dtype)
            sums += note(cache, layers, old_BNS + new_BNS)
        cache.state[SUMS] = tuple(sums)

    @override
    def dropped(self, cache: Cache) -> None:
        """Lets go of the sums of what is gone."""
        cache.state[SUMS] = forget_evicted(cache, cache.state[SUMS])

    @override
    def score(self, entries: Entries) -> Tensor:
        sums = entries.cache.state[SUMS]
        number_BNS = sums[entries.layer].number_BNS
        heads, dtype = number_BNS.shape[1], number_BNS.dtype
        sum_BNS = numbers_now(entries.cache, entries.layers, sums, heads, dtype)
        if not self.average:
            return sum_BNS
        rank_BF = entries.columns.rank_BF
        since_BF = rank_BF[:, -1:] - rank_BF + 1
        queries = entries.cache.observed.queries[entries.layer].shape[1] if entries.cache.observed else heads
        return sum_BNS / (queries // heads) / entries.of(since_BF)

    @override
    def sure(self, entries: Entries) -> Tensor:
        """The newest."""
        return newest(entries.open_BNS, (entries.free_BN1 * self.recent).long())
