"""Entries spread evenly over what was watched stay: a baseline."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored
from vxl.kv.scored.ranking import best, ranks
from vxl.sequence.spread import reversed_bits


@dataclass(frozen=True, kw_only=True)
class UniformConfig(ScoredConfig):
    """Visual tokens spread evenly over the video stay, in every layer and head the same."""

    _target_: str = "vxl.kv.uniform.Uniform"
    unit: Literal["token", "group"] = "token"
    """What is spread: tokens, or whole groups while they fit the budget."""


class Uniform(Scored):
    """Score: minus the reversed 32 bits of r_e, the rank of an entry among all visual tokens fed.

    Any number of smallest reversed ranks is spread evenly (2^-i of all: every 2^i-th token), and the sets for
    a falling share are nested. So with `tokens` the result does not depend on the pieces that the video came
    in; with `keep` the share grows behind the text in front, and what was evicted is gone. Where a group has
    a multiple of 2^i tokens, every group keeps the same places; `unit=group` has no such stripes.
    """

    per_head = False
    same_everywhere = True

    def __init__(self, config: UniformConfig) -> None:
        super().__init__(config)
        self.unit = config.unit
        self.fills = config.unit == "token"

    @override
    def score(self, entries: Entries) -> Tensor:
        if self.unit == "group":
            return -reversed_bits(entries.group_BNS.clamp(min=0)).double()
        return -reversed_bits(self.rank(entries).clamp(min=0)).double()

    def rank(self, entries: Entries) -> Tensor:
        """Of each entry among the visual tokens fed; among all tokens where text is not protected."""
        return entries.ordinal_BNS if self.settings.protect == "text" else entries.of(entries.columns.rank_BF)

    @override
    def choose(self, entries: Entries) -> Tensor:
        """With `unit=group` groups stay whole or not at all."""
        if self.unit == "token":
            return super().choose(entries)
        score_BNS, among_BNS = self.score(entries), entries.open_BNS
        place_BNS = ranks(score_BNS.masked_fill(~among_BNS, -torch.inf))
        group_BNS = entries.group_BNS.clamp(min=0).masked_fill(~among_BNS, 0)
        rows, heads, _ = group_BNS.shape
        last_BNG = group_BNS.new_full((rows, heads, entries.columns.sizes_BG.shape[1]), -1)
        last_BNG = last_BNG.scatter_reduce(2, group_BNS, place_BNS.masked_fill(~among_BNS, -1), "amax")
        fits_BNS = last_BNG.gather(2, group_BNS) < entries.free_BN1
        return best(score_BNS, among_BNS & fits_BNS, entries.free_BN1)
