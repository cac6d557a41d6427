"""What FastVID and FlashVID share: segments of a video in which little changes, and peaks of density among
tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.prune.base import KeepConfig, best, cosine


@dataclass(frozen=True, kw_only=True)
class SegmentsConfig(KeepConfig):
    """How a video is cut into segments of like groups."""

    segments: int = 8
    """Segments of a video, at least."""
    above: float = 0.9
    """Cosine of neighbouring groups' features below which a segment ends."""


def segments_of(frames_GE: Tensor, above: float, least: int) -> list[tuple[int, int]]:
    """[start, stop) of each segment: cut where neighbours' cosine is below `above`, and at the `least - 1`
    lowest.

    Args:
        frames_GE: One feature a group.
        above: Cosine below which a segment ends.
        least: Segments there are at least, where there are as many groups.
    """
    groups = len(frames_GE)
    likeness_G = cosine(frames_GE[:-1], frames_GE[1:])
    cut_G = likeness_G < above
    cut_G |= best(-likeness_G, min(least - 1, groups - 1))
    ends = (cut_G.nonzero()[:, 0] + 1).tolist()
    return list(zip([0, *ends], [*ends, groups], strict=True))


def peaks(x_MD: Tensor, neighbours: int) -> Tensor:
    """score_M of density peaks (DPC-KNN): density by the distance to the nearest denser token.

    Distances are divided by the root of the width. Density is exp of minus the mean squared distance to the
    `neighbours` nearest, itself among them; the densest token has the greatest distance there is.
    """
    distance_MM = torch.cdist(x_MD, x_MD) / x_MD.shape[1] ** 0.5
    nearest_MN = distance_MM.topk(min(neighbours, len(x_MD)), dim=-1, largest=False).values
    density_M = torch.exp(-nearest_MN.square().mean(dim=-1))
    denser_MM = density_M[None] > density_M[:, None]
    to_denser_M = distance_MM.masked_fill(~denser_MM, torch.inf).amin(dim=-1)
    return density_M * torch.where(to_denser_M.isinf(), distance_MM.max(), to_denser_M)


def first_highest(scores_M: Tensor, count: int) -> Tensor:
    """Places of the `count` highest, ascending; of equal scores the earlier."""
    return best(scores_M, count).nonzero()[:, 0]
