"""Policies that score entries, acting on one layer after the other while several chunks go through them.

All counts are known beforehand, so that the host never waits for the device.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.kv.scored.columns import Columns
from vxl.kv.scored.held import Held, index_of, per_entry
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
class Known:
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


def known_of(columns: Columns, protected_BF: Tensor, protected: int, rooms: list[Tensor]) -> Known:
    """Puts together what is known of a chunk; rooms are in the host's memory, of one row."""
    rooms_LB = sent(torch.stack(rooms), protected_BF.device)
    counts = [int(room_B[0]) for room_B in rooms]
    return Known(columns, protected_BF, protected, counts, rooms_LB, IdentityMemo())


def held_in_turn(cache: Cache, layer: int, known: Known) -> Held:
    """A layer's entries, all of which exist."""
    index_BNS = index_of(cache, (layer,))
    protected_BNS = per_entry(known.protected_BF, index_BNS)
    held = Held(cache, layer, known.columns, known.rooms_LB[layer], protected_BNS)
    held.__dict__["index_BNS"] = index_BNS  # as if it had been asked for already
    return held


def choice_in_turn(
    cache: Cache,
    layer: int,
    known: Known,
    wanted: int,
    score: Callable[[Held], Tensor],
    sure: Callable[[Held], Tensor | None],
    choose: Callable[[Held], Tensor] | None,
) -> Choice:
    """The `wanted` entries of a layer that stay: what is protected, and what a policy chooses.

    Args:
        cache: With the chunk in the layer.
        layer: Whose entries.
        known: What is known of the chunk.
        wanted: How many entries of each head stay.
        score: See `Scored`.
        sure: See `Scored`.
        choose: How the policy chooses, where that is not by score and what is sure.
    """
    held = held_in_turn(cache, layer, known)
    if choose is not None:
        return chosen_to(cache.layers[layer], places_where(held.protected_BNS | choose(held), wanted)[0])
    score_BNS, sure_BNS = score(held), sure(held)
    fast = score_BNS.is_cuda and score_BNS.dtype == torch.float32 and installed()
    if fast and score_BNS.shape[-1] <= LONGEST:
        from vxl.llm.kernels.ranks import ranked  # not above: it imports Triton

        order_NV = ranked(
            score_BNS[0], held.protected_BNS[0], None if sure_BNS is None else sure_BNS[0], wanted
        )
        return chosen_to(cache.layers[layer], order_NV[None])
    kept_BNS = held.protected_BNS | picked(held, score_BNS, sure_BNS)
    return chosen_to(cache.layers[layer], places_where(kept_BNS, wanted)[0])
