"""Efficient Video Sampling: what changed since the group before stays (EVS, arXiv 2510.14624, section 3).

d[g, j] = 1 - cos(x[g, j], x[g-1, j]); the n = max(K, keep · G · K) places of largest d stay, group 0
whole. The authors compare frames; with a compressor of 4 frames a group it is groups. vLLM rounds n down,
vxl to the nearest.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vxl.prune.base import (
    KeepConfig,
    Pruned,
    Pruner,
    Pruning,
    VideoTokens,
    best,
    cosine,
)
from vxl.sequence.share import share

FIRST = 255.0
"""The change of the first group's tokens: more than any cosine gives."""


@dataclass(frozen=True, kw_only=True)
class EVSConfig(KeepConfig):
    """Places that changed most since the group before stay."""

    _target_: str = "vxl.prune.evs.EVS"
    scope: Literal["video", "chunk"] = "video"
    """Over what the largest changes are taken: the whole video, as published; or each piece as it comes, so
    that a video streams (the pieces are then part of the method)."""


class EVS(Pruner):
    """Largest changes stay."""

    config: EVSConfig

    def __init__(self, config: EVSConfig) -> None:
        super().__init__(config)

    def prune(self, video: VideoTokens) -> Pruned:
        """See `Pruner.prune`."""
        groups, tokens = video.visual_GKD.shape[:2]
        change_GK = changes(video.float().visual_GKD, None)
        kept_X = best(change_GK.flatten(), self.count(groups, tokens))
        return Pruned(kept_X.view(groups, tokens), video.visual_GKD)

    def begin(self, groups: int) -> Pruning:
        """See `Pruner.begin`."""
        return PieceByPiece(self, groups) if self.config.scope == "chunk" else super().begin(groups)

    def count(self, groups: int, tokens: int) -> int:
        """See `Pruner.count`."""
        return max(tokens, share(groups * tokens, self.config.keep))


class PieceByPiece(Pruning):
    """`scope=chunk`: each piece gets what the video so far allows less what was given."""

    def __init__(self, pruner: EVS, groups: int) -> None:
        super().__init__(pruner, groups)
        self.evs = pruner
        self.last_KD: Tensor | None = None
        self.done = self.given = 0

    def feed(self, piece: VideoTokens) -> Pruned:
        """See `Pruning.feed`."""
        groups, tokens = piece.visual_GKD.shape[:2]
        precise_GKD = piece.float().visual_GKD
        change_GK = changes(precise_GKD, self.last_KD)
        self.done += groups
        room = self.evs.count(self.done, tokens) - self.given
        kept_X = best(change_GK.flatten(), max(0, room))
        self.given += int(kept_X.sum())
        self.last_KD = precise_GKD[-1]
        return Pruned(kept_X.view(groups, tokens), piece.visual_GKD)


def changes(visual_GKD: Tensor, before_KD: Tensor | None) -> Tensor:
    """change_GK: 1 - cosine to the same place of the group before; `FIRST` where there is none."""
    first_1K = visual_GKD.new_full((1, visual_GKD.shape[1]), FIRST)
    if before_KD is not None:
        first_1K = 1 - cosine(visual_GKD[:1], before_KD[None])
    return torch.cat([first_1K, 1 - cosine(visual_GKD[1:], visual_GKD[:-1])])
