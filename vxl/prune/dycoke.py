"""Temporal token merging of DyCoke (arXiv 2411.15024, section 3.1): of four groups one stays whole.

n = int(keep · K). Odd groups keep the n tokens least similar (cosine, same place) to the group before;
groups 2 mod 4 (but the last two) those least similar to the one two before; groups 0 mod 4 stay whole. So
(1 + 3 n/K) / 4 of all tokens stay. The authors order a pruned group by similarity and lose the last group
of an odd number of groups; here tokens stand in order of place, and that group stays whole.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vxl.prune.base import KeepConfig, Pruned, StreamingPruner, VideoTokens, best, cosine


@dataclass(frozen=True, kw_only=True)
class DyCokeConfig(KeepConfig):
    """Three of four groups keep what changed."""

    _target_: str = "vxl.prune.dycoke.DyCoke"


class DyCoke(StreamingPruner):
    """Three of four groups are compared with earlier ones."""

    carries: ClassVar[int] = 2

    def __init__(self, config: DyCokeConfig) -> None:
        super().__init__(config)

    def prune_piece(self, piece: VideoTokens, before: VideoTokens | None, done: int, groups: int) -> Pruned:
        """See `StreamingPruner.prune_piece`."""
        precise_GKD = piece.float().visual_GKD
        known_GKD = precise_GKD if before is None else torch.cat([before.float().visual_GKD, precise_GKD])
        offset = len(known_GKD) - len(piece)
        masks = [
            self.kept(known_GKD, offset + index, compared(done + index, groups))
            for index in range(len(piece))
        ]
        return Pruned(torch.stack(masks), piece.visual_GKD)

    def kept(self, known_GKD: Tensor, index: int, back: int) -> Tensor:
        """kept_K of the group at `index`, compared with the one `back` before; 0: it stays whole."""
        group_KD = known_GKD[index]
        if back == 0:
            return torch.ones(len(group_KD), dtype=torch.bool, device=group_KD.device)
        return best(-cosine(group_KD, known_GKD[index - back]), int(self.keep * len(group_KD)))

    def count(self, groups: int, tokens: int) -> int:
        """See `Pruner.count`."""
        thinned_groups = sum(compared(group, groups) > 0 for group in range(groups))
        return groups * tokens - thinned_groups * (tokens - int(self.keep * tokens))


def compared(group: int, groups: int) -> int:
    """How many groups before it the one is that a group is compared with; 0 for none.

    Example:
        >>> [compared(group, 8) for group in range(8)]
        [0, 1, 2, 1, 0, 1, 0, 1]
    """
    if group % 2:
        return 1
    return 2 if group % 4 == 2 and group <= groups - 3 else 0
