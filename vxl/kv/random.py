"""Entries drawn at random stay: a baseline."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.kv.policy import SEED
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored


@dataclass(frozen=True, kw_only=True)
class RandomConfig(ScoredConfig):
    """Visual tokens drawn at random stay; the seed is the request's."""

    _target_: str = "vxl.kv.random.Random"
    per_head: bool = False
    """Whether every layer and head draws for itself. Otherwise all keep the same."""


class Random(Scored):
    """Score: a hash of seed, rank among the visual tokens fed, layer and head, as a number from 0 to 1.

    No generator has a state here, so pieces, batches, forks and saved contexts change nothing. (kvpress'
    RandomPress begins its generator anew in every layer.)
    """

    def __init__(self, config: RandomConfig) -> None:
        super().__init__(config)
        self.per_head = config.per_head
        self.same_everywhere = not config.per_head

    @override
    def score(self, entries: Entries) -> Tensor:
        columns = entries.columns
        rank_BF = columns.ordinal_BF if self.settings.protect == "text" else columns.rank_BF
        seed = int(entries.cache.state.get(SEED, 0))
        if not self.per_head:
            return entries.of(drawn(rank_BF, seed, 0))
        heads = entries.keys_BNSH.shape[1]
        salts = [1 + entries.layer * heads + head for head in range(heads)]
        index_BNS = entries.index_BNS.expand(-1, heads, -1)
        parts = [drawn(rank_BF, seed, salt).gather(1, index_BNS[:, head]) for head, salt in enumerate(salts)]
        return torch.stack(parts, dim=1)


def drawn(number: Tensor, seed: int, salt: int) -> Tensor:
    """A number from 0 to 1 for each whole number, float64: SplitMix64's mixing of seed, number and salt."""
    start = seed * 0x9E3779B97F4A7C15 + salt * 0x94D049BB133111EB
    x = (number + 1) * signed(0xBF58476D1CE4E5B9) + signed(start)
    x = (x ^ shifted(x, 30)) * signed(0xBF58476D1CE4E5B9)
    x = (x ^ shifted(x, 27)) * signed(0x94D049BB133111EB)
    x = x ^ shifted(x, 31)
    return shifted(x, 11).double() / 2**53


def signed(number: int) -> int:
    """A number modulo 2^64 as int64 has it."""
    number %= 2**64
    return number - 2**64 if number >= 2**63 else number


def shifted(number: Tensor, bits: int) -> Tensor:
    """The 64 bits of numbers moved right, zeros coming in."""
    return (number >> bits) & ((1 << (64 - bits)) - 1)
