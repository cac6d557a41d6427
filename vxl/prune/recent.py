"""The last groups alone: what came earlier is never fed (SimpleStream, arXiv 2604.02317).

A baseline no table may lack: the authors find the last four frames ahead of thirteen methods of
streaming. Unlike `kv=recent`, whose entries have read what was dropped later, nothing here has seen the
older frames: the answer is that for a clip of the last groups with the same time text.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from vxl.errors import ConfigError
from vxl.prune.base import KeepConfig, Pruned, StreamingPruner, VideoTokens
from vxl.sequence.share import share


@dataclass(frozen=True, kw_only=True)
class RecentConfig(KeepConfig):
    """Only the video's last groups are fed; `keep` of them, or `groups`."""

    _target_: str = "vxl.prune.recent.Recent"
    groups: int | None = None
    """So many groups stay, in place of `keep`; null for the fraction."""
    empty: Literal["keep", "drop"] = "drop"
    """The time text of the other groups: drop (as published, they are never fed), or keep."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups is not None and self.groups < 1:
            raise ConfigError(f"prune.groups={self.groups} keeps nothing.\n  allowed: 1 or more, or null")


class Recent(StreamingPruner):
    """The last groups, whole."""

    config: RecentConfig

    def __init__(self, config: RecentConfig) -> None:
        super().__init__(config)

    @property
    def drops(self) -> bool:
        """See `Pruner.drops`."""
        return super().drops or self.config.groups is not None

    def last(self, groups: int) -> int:
        """How many of a video's groups stay."""
        if self.config.groups is not None:
            return min(groups, self.config.groups)
        return max(1, share(groups, self.config.keep))

    def prune_piece(self, piece: VideoTokens, before: VideoTokens | None, done: int, groups: int) -> Pruned:
        """See `StreamingPruner.prune_piece`."""
        visual_GKD = piece.visual_GKD
        place_G = torch.arange(done, done + len(piece), device=visual_GKD.device)
        kept_G = place_G >= groups - self.last(groups)
        return Pruned(kept_G[:, None].expand(visual_GKD.shape[:2]).clone(), visual_GKD)

    def count(self, groups: int, tokens: int) -> int:
        """See `Pruner.count`."""
        return self.last(groups) * tokens

    def never_fed(self, groups: int) -> int:
        """See `Pruner.never_fed`."""
        return groups - self.last(groups) if self.config.empty == "drop" else 0
