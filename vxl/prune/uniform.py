"""Evenly spread tokens: what any method must beat.

score(r) = -rev32(r), the 32 bits of a token's ordinal r in its video reversed: any n best are spread
evenly, and the sets for a falling share are nested.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from vxl.prune.base import KeepConfig, Pruned, Pruner, VideoTokens, best
from vxl.sequence.share import share
from vxl.sequence.spread import reversed_bits


@dataclass(frozen=True, kw_only=True)
class UniformConfig(KeepConfig):
    """Every so-manieth visual token stays."""

    _target_: str = "vxl.prune.uniform.Uniform"
    unit: Literal["token", "group"] = "token"
    """What is spread: single tokens, or whole groups (`token` keeps the same places of every group where a
    group has a multiple of a power of two tokens)."""


class Uniform(Pruner):
    """Evenly spread tokens or groups."""

    config: UniformConfig

    def __init__(self, config: UniformConfig) -> None:
        super().__init__(config)

    def prune(self, video: VideoTokens) -> Pruned:
        """See `Pruner.prune`."""
        groups, tokens = video.visual_GKD.shape[:2]
        by_token = self.config.unit == "token"
        units = groups * tokens if by_token else groups
        ordinal = torch.arange(units, device=video.visual_GKD.device)
        kept_units = best(-reversed_bits(ordinal), max(1, share(units, self.config.keep)))
        kept_GK = (
            kept_units.view(groups, tokens)
            if by_token
            else kept_units[:, None].expand(groups, tokens).clone()
        )
        return Pruned(kept_GK, video.visual_GKD)

    def count(self, groups: int, tokens: int) -> int:
        """See `Pruner.count`."""
        if self.config.unit == "token":
            return max(1, share(groups * tokens, self.config.keep))
        return max(1, share(groups, self.config.keep)) * tokens
