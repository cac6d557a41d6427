"""Dominant and contextual tokens of each group (VisionZip, arXiv 2412.04467, section 3).

The `dominant` tokens that the tower attends to most stay. Of the others, in order, every step-th is a
contextual target; the rest go to the target with the most similar key of the tower, and their mean is
added to it. The authors add the mean to the target (a sum, so that its norm grows); `published_sum=false`
takes the mean of all members.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.errors import ConfigError
from vxl.prune.base import KeepConfig, Needs, Pruned, StreamingPruner, VideoTokens, best


@dataclass(frozen=True, kw_only=True)
class VisionZipConfig(KeepConfig):
    """What the tower attends to stays; the rest is merged into a few."""

    _target_: str = "vxl.prune.visionzip.VisionZip"
    contextual: float = 0.2
    """Share of the kept tokens that are merged ones."""
    published_sum: bool = True
    """Add the mean of its members to a contextual token, as published; otherwise it is the mean of all of
    them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.contextual < 1:
            raise ConfigError(
                f"prune.contextual={self.contextual} is no share.\n  allowed: 0 up to 1, without 1"
            )


class VisionZip(StreamingPruner):
    """Dominant tokens and a few merged ones."""

    config: VisionZipConfig
    needs: ClassVar[frozenset[Needs]] = frozenset({"attention", "keys"})

    def __init__(self, config: VisionZipConfig) -> None:
        super().__init__(config)

    def shares(self, tokens: int) -> tuple[int, int]:
        """How many of a group's tokens are dominant, and how many contextual."""
        room = max(1, int(tokens * self.config.keep))
        dominant = max(1, int(room * (1 - self.config.contextual)))
        return dominant, room - dominant

    def prune_piece(self, piece: VideoTokens, before: VideoTokens | None, done: int, groups: int) -> Pruned:
        """See `StreamingPruner.prune_piece`."""
        assert piece.attention_GK is not None
        assert piece.keys_GKE is not None
        visual_GKD = piece.visual_GKD
        dominant, contextual = self.shares(visual_GKD.shape[1])
        dominant_GK = best(piece.attention_GK.to(torch.float32), dominant)
        if contextual == 0:
            return Pruned(dominant_GK, visual_GKD)
        rest_GM = dominant_GK.to(torch.uint8).argsort(dim=1, stable=True)[:, : visual_GKD.shape[1] - dominant]
        is_target_M = target_places(rest_GM.shape[1], contextual).to(visual_GKD.device)
        target_GC, other_GO = rest_GM[:, is_target_M], rest_GM[:, ~is_target_M]
        merged_GCD = self.merged(visual_GKD, piece.keys_GKE, target_GC, other_GO)
        kept_GK = dominant_GK.scatter(1, target_GC, True)
        index_GCD = target_GC[..., None].expand(merged_GCD.shape)
        return Pruned(kept_GK, visual_GKD.scatter(1, index_GCD, merged_GCD))

    def merged(self, visual_GKD: Tensor, keys_GKE: Tensor, target_GC: Tensor, other_GO: Tensor) -> Tensor:
        """Contextual tokens with their members, [G, C, D]."""
        keys_GKE = F.normalize(keys_GKE.to(torch.promote_types(keys_GKE.dtype, torch.float32)), dim=-1)
        wide = (-1, -1, keys_GKE.shape[-1])
        likeness_GOC = (
            keys_GKE.gather(1, other_GO[..., None].expand(wide))
            @ keys_GKE.gather(1, target_GC[..., None].expand(wide)).mT
        )
        member_GOC = F.one_hot(likeness_GOC.argmax(dim=-1), target_GC.shape[1]).to(visual_GKD.dtype)
        count_GC1 = member_GOC.sum(dim=1)[..., None]
        wide = (-1, -1, visual_GKD.shape[-1])
        target_GCD = visual_GKD.gather(1, target_GC[..., None].expand(wide))
        sums_GCD = member_GOC.mT @ visual_GKD.gather(1, other_GO[..., None].expand(wide))
        if self.config.published_sum:
            return target_GCD + sums_GCD / count_GC1.clamp(min=1)
        return (target_GCD + sums_GCD) / (count_GC1 + 1)

    def count(self, groups: int, tokens: int) -> int:
        """See `Pruner.count`."""
        return groups * sum(self.shares(tokens))


def target_places(tokens: int, contextual: int) -> Tensor:
    """bool [tokens]: every step-th of so many tokens, `contextual` in all."""
    step = max(1, tokens // contextual)
    places_M = torch.arange(tokens)
    return (places_M % step == 0) & (places_M // step < contextual)
