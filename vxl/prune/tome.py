"""Token merging within a group: pairs that resemble each other most become their mean (ToMe, arXiv
2210.09461, section 3).

A = even places, B = odd ones; each of A finds its most similar of B, and the r = min(K - int(K · keep), K
// 2) most similar of A merge into theirs, weighted by how many tokens each stands for. Below keep = 1/2
the same again on what is left. The paper compares a block's keys; here it is the visual tokens. A merged
token stands at B's place.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.prune.base import KeepConfig, Pruned, StreamingPruner, VideoTokens


@dataclass(frozen=True, kw_only=True)
class ToMeConfig(KeepConfig):
    """Most similar pairs of a group are merged."""

    _target_: str = "vxl.prune.tome.ToMe"


class ToMe(StreamingPruner):
    """Merges pairs within groups."""

    def __init__(self, config: ToMeConfig) -> None:
        super().__init__(config)

    def prune_piece(self, piece: VideoTokens, before: VideoTokens | None, done: int, groups: int) -> Pruned:
        """See `StreamingPruner.prune_piece`."""
        visual_GKD = piece.visual_GKD
        count, tokens, width = visual_GKD.shape
        room = self.count(1, tokens)
        place_GM = torch.arange(tokens, device=visual_GKD.device).expand(count, tokens)
        size_GM = torch.ones(count, tokens, dtype=torch.float32, device=visual_GKD.device)
        merged_GMD = visual_GKD
        while place_GM.shape[1] > room:
            merges = min(place_GM.shape[1] - room, place_GM.shape[1] // 2)
            merged_GMD, size_GM, place_GM = merge_pairs(merged_GMD, size_GM, place_GM, merges)
        kept_GK = torch.zeros(count, tokens, dtype=torch.bool, device=visual_GKD.device)
        kept_GK = kept_GK.scatter(1, place_GM, True)
        index_GMD = place_GM[..., None].expand(-1, -1, width)
        return Pruned(kept_GK, visual_GKD.scatter(1, index_GMD, merged_GMD.to(visual_GKD.dtype)))

    def count(self, groups: int, tokens: int) -> int:
        """See `Pruner.count`."""
        return groups * max(1, int(tokens * self.keep))


def merge_pairs(
    x_GMD: Tensor, size_GM: Tensor, place_GM: Tensor, merges: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One round: the `merges` most similar of the even tokens go into the odd ones.

    Args:
        x_GMD: Tokens of each group.
        size_GM: How many original tokens each stands for.
        place_GM: Its place.
        merges: At most half of M.

    Returns:
        The same three, shorter by `merges`, in order of place.
    """
    y_GMD = F.normalize(x_GMD.detach().to(torch.promote_types(x_GMD.dtype, torch.float32)), dim=-1)
    likeness_GAB = y_GMD[:, ::2] @ y_GMD[:, 1::2].mT
    nearest_GA, to_GA = likeness_GAB.max(dim=-1)
    merging_GR = nearest_GA.argsort(dim=1, descending=True, stable=True)[:, :merges]
    source_GR = 2 * merging_GR
    target_GR = 2 * to_GA.gather(1, merging_GR) + 1
    weighted_GMD = x_GMD * size_GM[..., None].to(x_GMD.dtype)
    wide = (-1, -1, x_GMD.shape[-1])
    moved_GRD = weighted_GMD.gather(1, source_GR[..., None].expand(wide))
    sums_GMD = weighted_GMD.scatter_add(1, target_GR[..., None].expand(wide), moved_GRD)
    sizes_GM = size_GM.scatter_add(1, target_GR, size_GM.gather(1, source_GR))
    stays_GM = torch.ones_like(size_GM, dtype=torch.bool).scatter(1, source_GR, False)
    rest = x_GMD.shape[1] - merges
    rest_GM = (~stays_GM).to(torch.uint8).argsort(dim=1, stable=True)[:, :rest]
    size_GM = sizes_GM.gather(1, rest_GM)
    x_GMD = sums_GMD.gather(1, rest_GM[..., None].expand(wide)) / size_GM[..., None].to(x_GMD.dtype)
    return x_GMD, size_GM, place_GM.gather(1, rest_GM)
