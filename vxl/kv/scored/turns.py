"""Policies that score entries, acting on one layer after the other while several chunks go through them.

All counts are known beforehand, so that the host never waits for the device.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.kv.scored.columns import Columns
from vxl.kv.scored.entries import Entries, index_of, per_entry
from vxl.kv.scored.picked import picked
from vxl.llm.attention.chosen import places_where
from vxl.llm.block import Choice, sent
from vxl.llm.cache import Cache
from vxl.llm.cache.eviction import chosen_to
from vxl.llm.kernels import LONGEST, installed
from vxl.llm.memo import IdentityMemo

TURN = "kv.scored.turn"
"""Where a cache has what a policy knows of the chunk that goes through (`Cache.scratch`)."""


@dataclass(frozen=True, eq=False)
class ChunkPlan:
    """What is known of a chunk before it goes through the layers."""

    columns: Columns
    protected_BF: Tensor
    protected: int
    """How many columns are protected: all of them are held."""
    rooms: list[int]
    """Entries that each layer's heads may hold."""
    rooms_LB: Tensor
    """The same on the device."""
    choices: IdentityMemo[Choice]
    """Of layers that hold the same and keep the same."""


def plan_chunk(columns: Columns, protected_BF: Tensor, protected: int, rooms: list[Tensor]) -> ChunkPlan:
    """Puts together what is known of a chunk; rooms are in the host's memory, of one row."""
    rooms_LB = sent(torch.stack(rooms), protected_BF.device)
    counts = [int(room_B[0]) for room_B in rooms]
    return ChunkPlan(columns, protected_BF, protected, counts, rooms_LB, IdentityMemo())


def entries_in_turn(cache: Cache, layer: int, plan: ChunkPlan) -> Entries:
    """A layer's entries, all of which exist."""
    index_BNS = index_of(cache, (layer,))
    protected_BNS = per_entry(plan.protected_BF, index_BNS)
    entries = Entries(cache, layer, plan.columns, plan.rooms_LB[layer], protected_BNS)
    entries.__dict__["index_BNS"] = index_BNS  # as if it had been asked for already
    return entries


def choice_in_turn(
    cache: Cache,
    layer: int,
    plan: ChunkPlan,
    stay: int,
    score: Callable[[Entries], Tensor],
    sure: Callable[[Entries], Tensor | None],
    choose: Callable[[Entries], Tensor] | None,
) -> Choice:
    """The `stay` entries of a layer that stay: what is protected, and what a policy chooses.

    Args:
        cache: With the chunk in the layer.
        layer: Whose entries.
        plan: What is known of the chunk.
        stay: How many entries of each head stay.
        score: See `Scored`.
        sure: See `Scored`.
        choose: How the policy chooses, where that is not by score and what is sure.
    """
    entries = entries_in_turn(cache, layer, plan)
    if choose is not None:
        return chosen_to(cache.layers[layer], places_where(entries.protected_BNS | choose(entries), stay)[0])
    score_BNS, sure_BNS = score(entries), sure(entries)
    fast = score_BNS.is_cuda and score_BNS.dtype == torch.float32 and installed()
    if fast and score_BNS.shape[-1] <= LONGEST:
        from vxl.llm.kernels.ranks import ranked  # late: Triton, which only GPUs need

        order_NV = ranked(
            score_BNS[0], entries.protected_BNS[0], None if sure_BNS is None else sure_BNS[0], stay
        )
        return chosen_to(cache.layers[layer], order_NV[None])
    kept_BNS = entries.protected_BNS | picked(entries, score_BNS, sure_BNS)
    return chosen_to(cache.layers[layer], places_where(kept_BNS, stay)[0])
