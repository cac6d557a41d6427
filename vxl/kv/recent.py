"""The newest entries stay: the baseline that no table may lack."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored
from vxl.llm.cache import Cache


@dataclass(frozen=True, kw_only=True)
class RecentConfig(ScoredConfig):
    """The newest visual tokens stay, in every layer and head the same."""

    budgets: ClassVar[tuple[str, ...]] = (*ScoredConfig.budgets, "groups")

    _target_: str = "vxl.kv.recent.Recent"
    groups: int | None = None
    """Budget in whole groups: the last ones stay, and what is protected stays beside them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups is not None and self.groups < 1:
            raise ConfigError(f"groups={self.groups} keeps nothing.\n  allowed: 1 or more\n  e.g.  groups=4")


class Recent(Scored):
    """Score: the column f_e that an entry was fed as.

    After SimpleStream (arXiv 2604.02317; EvolvingLMMs-Lab/SimpleStream, recent_window_eval.py, windows of 4
    and 8 frames). Its baseline never shows the language model older frames. A policy of the cache can't undo
    that the entries that stay have read them; not showing them at all is a matter of which frames are fed.
    """

    per_head = False
    same_everywhere = True

    def __init__(self, config: RecentConfig) -> None:
        super().__init__(config)
        self.groups = config.groups

    @override
    def score(self, entries: Entries) -> Tensor:
        return entries.index_BNS.double()

    @override
    def rooms(self, cache: Cache, columns: Columns, until: int) -> list[Tensor]:
        """With `groups`, what is protected and the last groups' tokens."""
        if self.groups is None:
            return super().rooms(cache, columns, until)
        column_F = torch.arange(columns.kind_BF.shape[1], device=columns.kind_BF.device)
        first_B1 = columns.last_group_B[:, None] - self.groups
        newest_BF = columns.visual_BF & (columns.group_BF > first_B1)
        stays_BF = (self.protected(columns) | newest_BF) & (column_F < until)
        return [stays_BF.sum(dim=1)] * len(cache.layers)
