"""Attention sinks and a window of recent tokens (StreamingLLM, arXiv 2309.17453, section 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import Policy, PolicyConfig
from vxl.llm.cache import Cache
from vxl.sequence.piece import Piece


@dataclass(frozen=True, kw_only=True)
class StreamingConfig(PolicyConfig):
    """The first tokens (attention sinks) and a window of the most recent ones stay."""

    _target_: str = "vxl.kv.streaming.Streaming"
    tokens: int = 4096
    """Budget: entries of every layer that stay, sinks included."""
    sinks: int = 4
    """First tokens that always stay."""
    compact: bool = True
    """Whether the gap between sinks and window is closed, as published: positions count the tokens that
    stayed. Otherwise every token keeps its own position."""

    def __post_init__(self) -> None:
        if not 0 <= self.sinks < self.tokens:
            raise ConfigError(
                f"tokens={self.tokens} leaves no window behind sinks={self.sinks}.\n"
                f"  allowed: 0 <= sinks < tokens\n  e.g.  tokens={max(1024, 2 * self.sinks)}"
            )


class Streaming(Policy):
    """Keeps sinks and a recent window, after every piece and every token."""

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__(config)
        self.tokens = config.tokens
        self.sinks = config.sinks
        self.compact = config.compact

    @property
    def stays_near(self) -> bool:
        """Whether the gap is closed: nothing is farther away than the budget then."""
        return self.compact

    def after_chunk(self, cache: Cache, piece: Piece) -> None:
        """Evicts down to the budget."""
        self.evict(cache)

    def after_decode(self, cache: Cache) -> None:
        """Evicts down to the budget."""
        self.evict(cache)

    def evict(self, cache: Cache) -> None:
        """Drops what lies between the sinks and the window, row by row."""
        if cache.entries() <= self.tokens:
            return
        valid_BNS = cache.valid()
        rank_BNS = valid_BNS.cumsum(dim=-1) - 1
        held_BN1 = valid_BNS.sum(dim=-1, keepdim=True)
        recent_BNS = rank_BNS >= held_BN1 - (self.tokens - self.sinks)
        cache.keep(valid_BNS & ((rank_BNS < self.sinks) | recent_BNS))
        if self.compact:
            cache.move(self.closed(cache))

    def closed(self, cache: Cache) -> Tensor:
        """Positions with the gap closed.

        Only distances matter to rotary positions, so it is the few sinks that move up to the window.
        """
        positions_BNS, valid_BNS = cache.positions(), cache.valid()
        rank_BNS = valid_BNS.cumsum(dim=-1) - 1
        window_BNS = valid_BNS & (rank_BNS >= self.sinks)
        first_BN1 = torch.where(window_BNS, positions_BNS, positions_BNS.max()).amin(dim=-1, keepdim=True)
        first_BN1 = torch.where(
            window_BNS.any(dim=-1, keepdim=True), first_BN1, self.sinks
        )  # too short for a gap
        return torch.where(rank_BNS < self.sinks, first_BN1 - self.sinks + rank_BNS, positions_BNS)
