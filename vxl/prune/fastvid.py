"""Density-based merging within segments (FastVID, arXiv 2503.11187, section 3).

A video is cut into segments of like frames. Of n = int(K · keep) tokens a group, n - int(n · merged) are
salient: those that the tower attends to most, unchanged. The others of a segment are merged into targets,
density peaks of its anchor groups (every `period`-th, counted from the last): target <- w · target + (1 -
w) · mean of its members, w = max(0.6, 1 / (members + 1)). The authors take frame features and attention
from SigLIP's pooling head; here a group's feature is the mean of its tokens. Where a group has fewer
tokens than its share of targets the authors' code fails; here all of them are targets.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.errors import ConfigError
from vxl.prune.base import Needs, Pruned, Pruner, VideoTokens, best
from vxl.prune.segments import SegmentsConfig, first_highest, peaks, segments_of

OWN = 0.6
"""Least weight of a target's own token."""
NEIGHBOURS = 4


@dataclass(frozen=True, kw_only=True)
class FastVIDConfig(SegmentsConfig):
    """What the tower attends to stays, the rest of a segment is merged into density peaks."""

    _target_: str = "vxl.prune.fastvid.FastVID"
    merged: float = 0.4
    """Share of the kept tokens that are merged ones."""
    period: int = 4
    """Every so-manieth group of a segment, counted from its last, holds merged tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segments < 1 or self.period < 1 or not 0 <= self.merged <= 1:
            raise ConfigError(
                f"prune.segments={self.segments} prune.period={self.period} prune.merged={self.merged}:\n"
                "  segments and period are 1 or more, merged is 0 to 1."
            )


class FastVID(Pruner):
    """Salient tokens, and density peaks with what was merged into them."""

    config: FastVIDConfig
    needs: ClassVar[frozenset[Needs]] = frozenset({"attention"})

    def __init__(self, config: FastVIDConfig) -> None:
        super().__init__(config)

    def prune(self, video: VideoTokens) -> Pruned:
        """See `Pruner.prune`."""
        assert video.attention_GK is not None
        frames_GD = video.float().visual_GKD.mean(dim=1)
        cuts = segments_of(frames_GD, self.config.above, self.config.segments)
        return self.prune_segments(video, cuts)

    def prune_segments(self, video: VideoTokens, cuts: list[tuple[int, int]]) -> Pruned:
        """What stays of a video that is cut into segments [start, stop)."""
        assert video.attention_GK is not None
        tokens = video.visual_GKD.shape[1]
        room = max(1, int(tokens * self.config.keep))
        salient = room - int(room * self.config.merged)
        kept_GK = best(video.attention_GK.to(torch.float32), salient)
        visual_GKD = video.visual_GKD.clone()
        for start, stop in cuts:
            self.merge(video, kept_GK, visual_GKD, start, stop, room - salient)
        return Pruned(kept_GK, visual_GKD)

    def merge(
        self, video: VideoTokens, kept_GK: Tensor, visual_GKD: Tensor, start: int, stop: int, share: int
    ) -> None:
        """Merges what is not salient in one segment, in `kept_GK` and `visual_GKD`."""
        salient_GK = kept_GK[start:stop].clone()
        anchors = [group for group in range(start, stop) if (stop - 1 - group) % self.config.period == 0]
        targets = share * (stop - start) // len(anchors) if stop - start > 1 else share
        if targets == 0:
            return
        alone = targets == share  # then every anchor group keeps to itself, as published
        for group in anchors:
            of_group_M = (~salient_GK[group - start]).nonzero()[:, 0]
            own_MD = video.visual_GKD[group, of_group_M]
            peak_T = of_group_M[
                first_highest(peaks(own_MD.detach().float(), NEIGHBOURS), min(targets, len(of_group_M)))
            ]
            others_MD = own_MD if alone else video.visual_GKD[start:stop][~salient_GK]
            visual_GKD[group, peak_T] = merged_into(video.visual_GKD[group, peak_T], others_MD)
            kept_GK[group, peak_T] = True


def merged_into(target_TD: Tensor, members_MD: Tensor) -> Tensor:
    """Targets with the mean of those members that resemble each most."""
    likeness_MT = (
        F.normalize(members_MD.detach().float(), dim=-1) @ F.normalize(target_TD.detach().float(), dim=-1).mT
    )
    belongs_MT = F.one_hot(likeness_MT.argmax(dim=-1), len(target_TD)).to(members_MD.dtype)
    count_T1 = belongs_MT.sum(dim=0)[:, None]
    mean_TD = belongs_MT.mT @ members_MD / count_T1.clamp(min=1)
    own_T1 = (1 / (count_T1 + 1)).clamp(min=OWN)
    return own_T1 * target_TD + (1 - own_T1) * mean_TD
