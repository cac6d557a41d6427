"""Attention-weighted diversity and merging along time (FlashVID, arXiv 2602.08024).

A video is cut into segments of like frames. Of t = ceil(K · keep · expansion) tokens a group, a =
ceil(0.7 t) are chosen for diversity: with d_ij = (1 - cos) · attention_j, first the token farthest from
its nearest, then always the one farthest from all chosen. Of the others, each whose most similar token of
the group before has a cosine above 0.8 becomes its child; trees are averaged, and the roots of each group
are clustered by density peaks into the t - a means that stay beside the chosen ones. The authors' pruning
inside the language model is no part of this.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.prune.base import Needs, Pruned, Pruner, VideoTokens
from vxl.prune.segments import SegmentsConfig, first_highest, peaks, segments_of

CHOSEN = 0.7
LIKE = 0.8
NEIGHBOURS = 7


@dataclass(frozen=True, kw_only=True)
class FlashVIDConfig(SegmentsConfig):
    """Diverse tokens stay, the others are merged along time and by density."""

    _target_: str = "vxl.prune.flashvid.FlashVID"
    expansion: float = 1.25
    """Factor on `keep`, as published (the authors prune on inside the language model); 1 for equal
    budgets."""
    published_sizes: bool = True
    """Divide the sum over a tree by one plus the children of its root alone, as the authors' code does, so
    that trees over three groups and more grow in norm; otherwise by all its tokens."""


class FlashVID(Pruner):
    """Diverse tokens, and means of trees."""

    config: FlashVIDConfig
    needs: ClassVar[frozenset[Needs]] = frozenset({"attention"})

    def __init__(self, config: FlashVIDConfig) -> None:
        super().__init__(config)

    def prune(self, video: VideoTokens) -> Pruned:
        """See `Pruner.prune`."""
        assert video.attention_GK is not None
        cuts = segments_of(video.float().visual_GKD.mean(dim=1), self.config.above, self.config.segments)
        kept_GK = torch.zeros(video.visual_GKD.shape[:2], dtype=torch.bool, device=video.visual_GKD.device)
        visual_GKD = video.visual_GKD.clone()
        for start, stop in cuts:
            for group, places, tokens_MD in self.segment(video, start, stop):
                own = places_alone(places, kept_GK.shape[1])
                kept_GK[group, own] = True
                visual_GKD[group, own] = tokens_MD
        return Pruned(kept_GK, visual_GKD)

    def segment(self, video: VideoTokens, start: int, stop: int) -> list[tuple[int, list[int], Tensor]]:
        """(group, places, tokens_MD) of each group of a segment: chosen ones, then means of clusters.

        A segment of one group clusters all its tokens, chosen ones too, as published: a place may come twice.
        """
        assert video.attention_GK is not None
        x_GKD, attention_GK = video.visual_GKD[start:stop], video.attention_GK[start:stop]
        length, tokens = x_GKD.shape[:2]
        room = min(tokens, math.ceil(tokens * self.config.keep * self.config.expansion))
        diverse = math.ceil(CHOSEN * room)
        places_of_groups = [
            most_diverse(x_KD.detach().float(), attention_K.float(), diverse)
            for x_KD, attention_K in zip(x_GKD, attention_GK, strict=True)
        ]
        chosen_GK = torch.zeros(length, tokens, dtype=torch.bool, device=x_GKD.device)
        for group, places in enumerate(places_of_groups):
            chosen_GK[group, places] = True
        root_GK = ~chosen_GK if length > 1 else torch.ones_like(chosen_GK)
        mean_GKD = x_GKD
        if length > 1:
            mean_GKD, is_root_GK = trees(x_GKD, chosen_GK, room, published=self.config.published_sizes)
            root_GK = is_root_GK & ~chosen_GK
        all_roots = int(root_GK.sum())
        groups_kept = []
        for group, places in enumerate(places_of_groups):
            root_R = root_GK[group].nonzero()[:, 0]
            clusters = math.ceil(len(root_R) * (room - diverse) * length / max(1, all_roots))
            kept_places, kept_MD = places.tolist(), [x_GKD[group, places]]
            if clusters and len(root_R):
                centre_C, mean_CD = cluster_means(mean_GKD[group, root_R], min(clusters, len(root_R)))
                kept_places += root_R[centre_C].tolist()
                kept_MD.append(mean_CD)
            groups_kept.append((start + group, kept_places, torch.cat(kept_MD)))
        return groups_kept


def places_alone(places: list[int], tokens: int) -> list[int]:
    """Places of a group, each once, as a mask needs them: one that is taken becomes the next free one.

    Example:
        >>> places_alone([2, 0, 2, 3], tokens=4)
        [2, 0, 3, 1]
    """
    own: list[int] = []
    for place in places:
        own.append(next(p for p in [*range(place, tokens), *range(place)] if p not in own))
    return own


def most_diverse(x_KD: Tensor, attention_K: Tensor, count: int) -> Tensor:
    """Places of `count` tokens that lie far from each other, weighted by attention, in the order of
    choice."""
    y_KD = F.normalize(x_KD, dim=-1)
    distance_KK = (1 - y_KD @ y_KD.mT) * attention_K * 1e6
    place = distance_KK.topk(min(2, len(x_KD)), dim=0, largest=False).values[-1].argmax()
    places, nearest_K = [place], distance_KK[place]
    while len(places) < count:  # places stay on the device: reading each would wait for it
        nearest_K = nearest_K.scatter(0, place, -torch.inf)
        place = nearest_K.argmax()
        places.append(place)
        nearest_K = torch.minimum(nearest_K, distance_KK[place])
    return torch.stack(places)


def trees(x_GKD: Tensor, chosen_GK: Tensor, room: int, *, published: bool) -> tuple[Tensor, Tensor]:
    """Means of trees along time at their roots, [G, K, D] (`FlashVIDConfig.published_sizes`), and which
    tokens are
    roots: at least `room` a group on average."""
    groups, tokens = chosen_GK.shape
    y_GKD = F.normalize(x_GKD.detach().float(), dim=-1)
    likeness_GKK = y_GKD[1:] @ y_GKD[:-1].mT  # to each token of the group before
    likeness_GKK = likeness_GKK.masked_fill(chosen_GK[1:, :, None] | chosen_GK[:-1, None, :], -1.0)
    nearest_GK, parent_GK = likeness_GKK.max(dim=-1)
    child_GK = nearest_GK > LIKE
    most = groups * (tokens - room)
    if int(child_GK.sum()) > most:
        threshold = nearest_GK.flatten().topk(most).values[-1] if most else torch.inf
        child_GK = nearest_GK >= threshold
    sums_GKD, size_GK = x_GKD.clone(), torch.ones(groups, tokens, dtype=x_GKD.dtype, device=x_GKD.device)
    for group in range(groups - 1, 0, -1):
        from_C = child_GK[group - 1].nonzero()[:, 0]
        to_C = parent_GK[group - 1, from_C]
        sums_GKD[group - 1] = sums_GKD[group - 1].index_add(0, to_C, sums_GKD[group, from_C])
        size_C = torch.ones_like(size_GK[group, from_C]) if published else size_GK[group, from_C]
        size_GK[group - 1] = size_GK[group - 1].index_add(0, to_C, size_C)
    first_1K = torch.ones(1, tokens, dtype=torch.bool, device=x_GKD.device)
    return sums_GKD / size_GK[..., None], torch.cat([first_1K, ~child_GK])


def cluster_means(x_RD: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """(places of the centres, their clusters' means): density peaks, each token with its nearest centre."""
    precise_RD = x_RD.detach().float()
    centre_C = first_highest(peaks(precise_RD, min(clusters, NEIGHBOURS)), clusters)
    nearest_R = torch.cdist(precise_RD, precise_RD[centre_C]).argmin(dim=-1)
    nearest_R[centre_C] = torch.arange(len(centre_C), device=x_RD.device)
    belongs_RC = F.one_hot(nearest_R, len(centre_C)).to(x_RD.dtype)
    return centre_C, belongs_RC.mT @ x_RD / belongs_RC.sum(dim=0)[:, None]
