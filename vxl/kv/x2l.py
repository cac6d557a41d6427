"""Summary tokens at two ratios (Video-X2L): coarse ones of the whole video, fine ones where it matters."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.budget import BudgetConfig, budget, cost_of
from vxl.kv.vst import VST, VSTConfig
from vxl.llm.block import Block
from vxl.llm.cache import Cache
from vxl.llm.chunks import chunks_of
from vxl.llm.memo import IdentityMemo
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Kind

COARSE = "kv.x2l.coarse"
"""Where a context notes how many columns its coarse level has; the fine level's follow."""


@dataclass(frozen=True, kw_only=True)
class X2LConfig(VSTConfig, BudgetConfig):
    """Summary tokens of the whole video at a coarse ratio, and at a fine one of windows that matter to the
    question; `relevance` says which do."""

    budgets: ClassVar[tuple[str, ...]] = (*BudgetConfig.budgets, "chunks")

    _target_: str = "vxl.kv.x2l.X2L"
    ratios: list[int] = field(default_factory=lambda: [2, 32])
    """Visual tokens for each summary token: of the fine level, and of the coarse one. In training windows
    draw from both, as `draw` says."""
    keep: float | None = None
    """Budget of a question's entries as a fraction of the watched tokens, text included."""
    chunks: int | None = 4
    """Budget in windows that are read at the fine ratio."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.ratios) != 2 or not 0 < self.ratios[0] < self.ratios[1]:
            raise ConfigError(
                f"ratios=[{','.join(map(str, self.ratios))}] are no two levels.\n"
                "  allowed: a fine ratio and a greater, coarse one\n  e.g.  ratios=[2,32]"
            )
        if self.chunks is not None and self.chunks < 0:
            raise ConfigError(f"chunks={self.chunks} is no number of windows.\n  allowed: 0 or more")
        by_groups = {"window": self.window is None, "density": not self.density}
        wrong = [name for name, fits in by_groups.items() if not fits]
        if wrong:
            raise ConfigError(
                f"{wrong[0]}={getattr(self, wrong[0])} does not go with kv=x2l: relevance scores its windows "
                "as chunks.\n  allowed: whole groups\n  type  kv.window=null kv.density=false"
            )


class X2L(VST):
    """Watches twice with summary tokens, at ratio 32 and at ratio 2, and keeps both; a question reads text
    and, of each window in order, the fine summaries where the window is chosen, else the coarse ones, at
    consecutive positions.

    Video-X2L (arXiv 2506.21184; UnableToUseGit/VideoX22L). The windows of both levels are the same, and each
    level's windows read that level's summaries alone. So a budget for none is `kv=vst` at the coarse ratio,
    and one for all is `kv=vst` at the fine one, bit for bit. `relevance` sees the coarse level. The context
    holds both levels, one behind the other; watching costs two passes. Text behind a video is of the level
    that the window before it is read at.
    """

    def __init__(self, config: X2LConfig) -> None:
        super().__init__(config)
        self.levels = ((config.ratios[1],), (config.ratios[0],))
        self.budget = config

    def join_levels(self, cache: Cache, others: list[Cache]) -> None:
        """Puts the fine level behind the coarse one, when watching ends."""
        (fine,) = others
        both, memo = cache.fork(), IdentityMemo[Tensor]()

        def behind(block: Block) -> Block:
            index_BNS = memo.get((block.index_BNS,), lambda: block.index_BNS + cache.fed)
            return block.standing(block.places._replace(index_BNS=index_BNS))

        for layer, blocks in enumerate(fine.layers):
            both.layers[layer] += tuple(map(behind, blocks))
        both.state[COARSE] = cache.fed
        both.layouts += fine.layouts
        both.fed += fine.fed
        cache.go_on_as(both)

    def before_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Leaves the fork one level of each window, and closes it up."""
        columns, fed = cache.state[COARSE], cache.fed
        every = chunks_of(cache, self.settings.groups)
        fine_BS = (cache.index()[:, 0] >= columns) & every.valid_BS
        coarse_BS = ~fine_BS & every.valid_BS
        # Text is of the window before it, the first text of the first window.
        own_BS = every.chunk_BS.masked_fill(~coarse_BS, -1).cummax(dim=1).values
        of_fine_BS = every.chunk_BS.masked_fill(~fine_BS, -1).cummax(dim=1).values
        window_BS = torch.where(fine_BS, of_fine_BS, own_BS).clamp(min=0)
        if every.count:
            chosen_BC = self.chosen(cache, question, coarse_BS, fine_BS, window_BS, every.count)
            stays_BS = torch.where(chosen_BC.gather(1, window_BS), fine_BS, coarse_BS)
        else:
            stays_BS = coarse_BS
        # Of each window one level stays, so that windows in order are the sequence in order.
        order_BS = torch.where(stays_BS, window_BS, every.count).argsort(dim=1, stable=True)
        rank_BS = torch.arange(order_BS.shape[1], device=order_BS.device).expand_as(order_BS)
        position_BS = torch.empty_like(order_BS).scatter(1, order_BS, rank_BS)
        # One column more takes what does not stay.
        column_BS = torch.where(stays_BS, cache.index()[:, 0], fed)
        position_BF = rank_BS.new_zeros(cache.rows, fed + 1).scatter(1, column_BS, position_BS)
        cache.keep(stays_BS[:, None])
        cache.next_B = stays_BS.sum(dim=1)
        cache.move(position_BF[:, None].gather(2, cache.index()[:, :1]))

    def chosen(
        self,
        cache: Cache,
        question: QuestionPiece,
        coarse_BS: Tensor,
        fine_BS: Tensor,
        window_BS: Tensor,
        count: int,
    ) -> Tensor:
        """Which windows are read at the fine ratio, bool [B, C]; the most relevant first, as far as they fit.

        Args:
            cache: Both levels.
            question: What is asked.
            coarse_BS: Its entries of the coarse level.
            fine_BS: Its entries of the fine level.
            window_BS: The window of each entry.
            count: C.
        """
        settings = self.budget
        seen = cache.fork()
        seen.keep(coarse_BS[:, None])
        scores_BC = question.relevance.score(question, chunks_of(seen, self.settings.groups), seen)
        order_BC = scores_BC.argsort(dim=1, descending=True, stable=True)
        if settings.chunks is not None:
            fits_BC = torch.arange(count, device=order_BC.device) < settings.chunks
        else:
            cost = cost_of(cache, settings, per_head=False) if settings.mib is not None else None
            room_B = budget(settings, watched(cache, cache.state[COARSE]), cost)
            more_BS = fine_BS.long() - coarse_BS.long()
            more_BC = torch.zeros_like(order_BC).scatter_add(1, window_BS, more_BS)
            spent_BC = more_BC.gather(1, order_BC).cumsum(dim=1)
            fits_BC = coarse_BS.sum(dim=1, keepdim=True) + spent_BC <= room_B[:, None]
        fits_BC = fits_BC.expand_as(order_BC) & (scores_BC.gather(1, order_BC) > -torch.inf)
        found_BC = torch.zeros_like(scores_BC, dtype=torch.bool).scatter(1, order_BC, fits_BC)
        return found_BC | (scores_BC == torch.inf)


def watched(cache: Cache, columns: int) -> Tensor:
    """Tokens that each row was shown, summaries not counted, int64 [B].

    Args:
        cache: What was watched.
        columns: How many of its columns are of the first level.
    """
    parts = [
        (layout.real_BT & (layout.kind_BT != Kind.BEACON)).expand(cache.rows, -1) for layout in cache.layouts
    ]
    return torch.cat(parts, dim=1)[:, :columns].sum(dim=1).to(cache.next_B.device)
