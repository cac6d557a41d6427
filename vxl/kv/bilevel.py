"""Two levels of a video's keys and values: chunks that matter in full, the others pooled.

Video-XL-2 (arXiv 2506.19225), "bi-level key-value decoding". The context keeps every key and value; when a
question comes, its own fork is made of both levels, so that the next question may choose other chunks.
Pooled entries are means, over runs of consecutive visual tokens of one group, of values and of un-rotated
keys; they cost one pass over the cache and are not stored.

Letters: C chunks · S entries before · M entries after · P means of R entries each.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.budget import BudgetConfig, budget, cost_of
from vxl.kv.policy import Policy
from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks, chunks_of, saves, two_levels
from vxl.relevance.base import QuestionPiece


@dataclass(frozen=True, kw_only=True)
class BilevelConfig(BudgetConfig):
    """Chunks that matter to the question in full, the others pooled; `relevance` says which matter.

    Whole chunks fill the budget, the most relevant first; a visual's first and last chunk, text and time text
    always stay in full, and no chunk gets shorter than its pooled form.
    """

    budgets: ClassVar[tuple[str, ...]] = (*BudgetConfig.budgets, "chunks")

    _target_: str = "vxl.kv.bilevel.Bilevel"
    chunks: int | None = None
    """Budget in chunks beside each visual's first and last."""
    groups_per_chunk: int = 4
    """Groups of a chunk."""
    pool: int = 4
    """Consecutive visual tokens of a group that become one entry; what a group has left over is dropped, as
    published, and a group that has fewer stays as it is."""
    compact: bool = True
    """Whether positions count the entries that stayed, as published. Otherwise entries keep their own
    positions, and a pooled one stands in the middle of those it is made of."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunks is not None and self.chunks < 0:
            raise ConfigError(f"chunks={self.chunks} is no number of chunks.\n  allowed: 0 or more")
        if self.groups_per_chunk < 1 or self.pool < 1:
            raise ConfigError(
                f"groups_per_chunk={self.groups_per_chunk} pool={self.pool} is no chunk.\n"
                "  allowed: 1 or more groups a chunk, 1 or more tokens an entry"
            )


class Bilevel(Policy):
    """Makes each question a cache of two levels."""

    def __init__(self, config: BilevelConfig) -> None:
        super().__init__(config)
        self.settings = config

    def before_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Pools the chunks that matter least to the question."""
        settings = self.settings
        held_B = cache.valid()[:, 0].sum(dim=-1)
        # Means are held as they are, whatever the context's entries are coded in.
        plain = replace(settings, bits=None)
        room_B = budget(settings, held_B, cost_of(cache, plain, per_head=False) if settings.mib else None)
        if settings.chunks is None and bool((room_B >= held_B).all()):
            return
        chunks = chunks_of(cache, settings.groups_per_chunk)
        if not chunks.count:
            return
        dense_BC = self.choose(chunks, question.relevance.score(question, chunks, cache), held_B, room_B)
        if not bool(dense_BC.all()):
            two_levels(cache, chunks, dense_BC, settings.pool, compact=settings.compact)

    def choose(self, chunks: Chunks, scores_BC: Tensor, held_B: Tensor, room_B: Tensor) -> Tensor:
        """Which chunks stay in full, bool [B, C]."""
        settings = self.settings
        saved_BC = saves(chunks, settings.pool)
        sure_BC = chunks.ends_C | (scores_BC == float("inf"))
        may_BC = ~sure_BC & (scores_BC > float("-inf"))
        order_BC = scores_BC.masked_fill(~may_BC, float("-inf")).argsort(dim=1, descending=True, stable=True)
        if settings.chunks is not None:
            fits_BC = torch.arange(chunks.count, device=order_BC.device) < settings.chunks
        else:
            least_B1 = (held_B - (saved_BC * ~sure_BC).sum(dim=1))[:, None]
            costs_BC = (saved_BC * may_BC).gather(1, order_BC).cumsum(dim=1)
            fits_BC = least_B1 + costs_BC <= room_B[:, None]
        return sure_BC | (may_BC & torch.zeros_like(sure_BC).scatter(1, order_BC, fits_BC.expand_as(sure_BC)))
