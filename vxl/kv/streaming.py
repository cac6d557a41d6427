"""Attention sinks and a window of recent tokens (StreamingLLM, arXiv 2309.17453, section 3)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns, columns_of
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import ANSWERED, Scored
from vxl.llm.cache import Cache
from vxl.option.option import option
from vxl.relevance.base import QuestionPiece


@dataclass(frozen=True, kw_only=True)
class StreamingConfig(ScoredConfig):
    """The first tokens (attention sinks) and a window of the most recent ones stay."""

    _target_: str = "vxl.kv.streaming.Streaming"
    keep: float | None = option(None, later=True)
    """Budget as a fraction of everything up to the newest token."""
    tokens: int | None = 4096
    """Budget: entries of every layer that stay, sinks included."""
    protect: Literal["sinks"] = option("sinks", later=True)
    """What stays in any case: the first `sinks` tokens, as published."""
    sinks: int = 4
    """First tokens that always stay."""
    layers: dict[int, float] | None = option(None, later=True)  # noqa: RUF009 -- a field, not a value
    """Only null: all layers have the same budget."""
    compact: bool = True
    """Whether the gap between sinks and window is closed, as published: positions count the tokens that
    stayed. Otherwise every token keeps its own position."""
    decode_every: int | None = option(1, later=True)
    """Evict again after so many tokens of the answer: the window slides over the question and the answer."""
    at: Literal["chunks"] = option("chunks", later=True)
    """After each piece of the prefill, and while answering."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is not None:
            raise ConfigError(
                f"layers={self.layers} does not go with kv=streaming: one window slides over all layers.\n"
                "  type  kv.layers=null kv.keep=0.5   or  kv=recent for budgets by layer"
            )
        if self.tokens is not None and not 0 <= self.sinks < self.tokens:
            raise ConfigError(
                f"tokens={self.tokens} leaves no window behind sinks={self.sinks}.\n"
                f"  allowed: 0 <= sinks < tokens\n  e.g.  tokens={max(1024, 2 * self.sinks)}"
            )


class Streaming(Scored):
    """Score: the column that an entry was fed as; the sinks are protected.

    The window slides over the question and the answer, too: nothing but the sinks is older than the budget.
    With `compact` the sinks move up to the window, since only distances matter to rotary positions.
    """

    per_head = False
    same_everywhere = True

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__(config)

    @property
    def stays_near(self) -> bool:
        """Whether the gap is closed: nothing is farther away than the budget then."""
        return self.settings.compact and self.settings.keep is None

    @override
    def score(self, entries: Entries) -> Tensor:
        return entries.index_BNS.double()

    def after_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Evicts as after a piece: the question is in the window."""
        cache.state[ANSWERED] = cache.fed
        self.slide(cache)

    def after_decode(self, cache: Cache) -> None:
        """Evicts every `decode_every` tokens of an answer."""
        every = self.settings.decode_every
        if every is not None and (cache.fed - cache.state.get(ANSWERED, 0)) % every == 0:
            self.slide(cache)

    def slide(self, cache: Cache) -> None:
        """Evicts down to the budget of everything up to here."""
        columns = columns_of(cache)
        self.evict(cache, columns, self.rooms(cache, columns.on_host, cache.fed))

    def close(self, cache: Cache, columns: Columns) -> None:
        """Moves the sinks up to the window, so that it is they that change and not the many."""
        entries = self.entries(cache, 0, columns, cache.next_B)
        valid_BNS, positions_BNS = entries.valid_BNS, cache.positions()
        window_BNS = valid_BNS & ~entries.protected_BNS
        count_BN1 = entries.protected_BNS.sum(dim=-1, keepdim=True)
        first_BN1 = torch.where(window_BNS, positions_BNS, positions_BNS.max()).amin(dim=-1, keepdim=True)
        first_BN1 = torch.where(window_BNS.any(dim=-1, keepdim=True), first_BN1, count_BN1)
        rank_BNS = valid_BNS.long().cumsum(dim=-1) - 1
        cache.move(torch.where(entries.protected_BNS, first_BN1 - count_BN1 + rank_BNS, positions_BNS))
