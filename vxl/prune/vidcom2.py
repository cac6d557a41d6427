"""Tokens unlike their video's and their frame's mean stay, more in frames that stand out (VidCom², arXiv
2505.14454, section 3).

In the D/2 channels of least variance, y = x / |x|; with the kernel κ(y, c) = sum over e = -3..1 of
exp(-|y - c|² / (2 · 2^e)), v is κ to the video's mean and f to the group's. The smallest v + f of each
group stay: n_g = max(1, K · min(1, keep · (1 + p_g - 1/G))), p = softmax over groups of -mean(v) / 0.01.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.prune.base import KeepConfig, Pruned, Pruner, VideoTokens, best
from vxl.sequence.share import share

TEMPERATURE = 0.01
EXPONENTS = range(-3, 2)


@dataclass(frozen=True, kw_only=True)
class VidCom2Config(KeepConfig):
    """Tokens that stand out from their video and from their group stay."""

    _target_: str = "vxl.prune.vidcom2.VidCom2"
    exact: bool = True
    """Whether keep · G · K tokens stay, as in vLLM: the most ordinary of the kept go, or the least ordinary
    of the others come back. The authors' code lets the total follow the groups' budgets; then packing is
    refused."""


class VidCom2(Pruner):
    """Unlike tokens stay."""

    config: VidCom2Config

    def __init__(self, config: VidCom2Config) -> None:
        super().__init__(config)

    def prune(self, video: VideoTokens) -> Pruned:
        """See `Pruner.prune`."""
        groups, tokens = video.visual_GKD.shape[:2]
        likeness_GK, scale_G = likeness(video.float().visual_GKD, self.config.keep)
        room_G = torch.round(scale_G * tokens).long().clamp(min=1)  # half to even, as published
        order_GK = likeness_GK.argsort(dim=1, stable=True)
        rank_GK = torch.empty_like(order_GK).scatter(
            1, order_GK, torch.arange(tokens, device=order_GK.device).expand(groups, tokens)
        )
        kept_GK = rank_GK < room_G[:, None]
        if self.config.exact:
            kept_GK = to_count(kept_GK, likeness_GK, self.budget(groups, tokens))
        return Pruned(kept_GK, video.visual_GKD)

    def count(self, groups: int, tokens: int) -> int | None:
        """See `Pruner.count`."""
        return self.budget(groups, tokens) if self.config.exact else None

    def budget(self, groups: int, tokens: int) -> int:
        """How many tokens stay with `exact=true`."""
        return max(groups, share(groups * tokens, self.config.keep))


def likeness(visual_GKD: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """v + f of every token, likeness_GK; and scale_G, the share of its tokens that each group keeps."""
    variance_D = visual_GKD.flatten(0, 1).var(dim=0, unbiased=False)
    quiet = variance_D.argsort(stable=True)[: visual_GKD.shape[-1] // 2]
    y_GKD = F.normalize(visual_GKD[..., quiet], dim=-1, eps=1e-12)
    video_GK = kernel(y_GKD, y_GKD.mean(dim=(0, 1)))
    group_GK = kernel(y_GKD, y_GKD.mean(dim=1, keepdim=True))
    share_G = (-video_GK.mean(dim=1) / TEMPERATURE).softmax(dim=0)
    scale_G = (keep * (1 + share_G - 1 / len(visual_GKD))).clamp(max=1)
    return video_GK + group_GK, scale_G


def kernel(y: Tensor, centre: Tensor) -> Tensor:
    """Sum of Gaussian kernels of five widths."""
    squared = (y - centre).square().sum(dim=-1)
    widths = torch.tensor([2.0**e for e in EXPONENTS], dtype=y.dtype, device=y.device)
    return torch.exp(-squared[..., None] / (2 * widths)).sum(dim=-1)


def to_count(kept_GK: Tensor, likeness_GK: Tensor, count: int) -> Tensor:
    """Drops the most ordinary of the kept, or adds the least ordinary of the others, until `count` stay."""
    now = int(kept_GK.sum())
    if now > count:
        ordinary_GK = likeness_GK.masked_fill(~kept_GK, -torch.inf)
        return kept_GK & ~best(ordinary_GK.flatten(), now - count).view_as(kept_GK)
    rare_GK = (-likeness_GK).masked_fill(kept_GK, -torch.inf)
    return kept_GK | best(rare_GK.flatten(), count - now).view_as(kept_GK)
