"""Which entries stay, of scores: protected ones, sure ones, then the best; ties go to the older entry."""

import torch
from torch import Tensor

from vxl.llm.kernels import installed


def ranks(scores: Tensor) -> Tensor:
    """Place of every score of the last axis in falling order, from 0; equal ones keep their order."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter(-1, order, places)


def newest(mask_BNS: Tensor, count_BN1: Tensor) -> Tensor:
    """The last `count` true entries of each row and head."""
    age_BNS = mask_BNS.long().flip(-1).cumsum(dim=-1).flip(-1)
    return mask_BNS & (age_BNS <= count_BN1)


def best(score_BNS: Tensor, among_BNS: Tensor, count_BN1: Tensor) -> Tensor:
    """The `count` entries with the highest scores `among` some; all of them where there are fewer."""
    lowest = torch.finfo(score_BNS.dtype).min
    score_BNS = score_BNS.clamp(min=lowest).masked_fill(~among_BNS, -torch.inf)
    if score_BNS.is_cuda and score_BNS.dtype == torch.float32 and installed():
        from vxl.llm.kernels import ranks as kernels  # late: Triton, which only GPUs need

        entries = score_BNS.shape[-1]
        count_R = count_BN1.expand(*score_BNS.shape[:-1], 1).reshape(-1)
        best_RS = kernels.best(score_BNS.reshape(-1, entries), among_BNS.reshape(-1, entries), count_R)
        return best_RS.view_as(score_BNS)
    return among_BNS & (ranks(score_BNS) < count_BN1)


def chosen(score_BNS: Tensor, among_BNS: Tensor, sure_BNS: Tensor, free_BN1: Tensor) -> Tensor:
    """Entries that fill `free` places of each head: the sure ones, the newest first, then the best."""
    sure_BNS = newest(among_BNS & sure_BNS, free_BN1)
    left_BN1 = free_BN1 - sure_BNS.sum(dim=-1, keepdim=True)
    return sure_BNS | best(score_BNS, among_BNS & ~sure_BNS, left_BN1)


def shared(score_BNS: Tensor, among_BNS: Tensor, sure_BNS: Tensor, free_BN1: Tensor, least: float) -> Tensor:
    """Entries that fill the places of all heads of a layer together (Ada-KV, arXiv 2407.11550, section 4).

    Args:
        score_BNS: [B, N, S].
        among_BNS: Entries to choose from, [B, N, S].
        sure_BNS: Of these, the ones that stay in any case.
        free_BN1: Places of each head on average.
        least: Part of its own places that each head fills with its own best, whatever the others have.
    """
    sure_BNS = newest(among_BNS & sure_BNS, free_BN1)
    left_BN1 = free_BN1 - sure_BNS.sum(dim=-1, keepdim=True)
    own_BNS = best(score_BNS, among_BNS & ~sure_BNS, (left_BN1 * least).long())
    sure_BNS = sure_BNS | own_BNS
    total_B1 = free_BN1.expand(-1, score_BNS.shape[1], -1).sum(dim=(1, 2))[:, None]
    total_B1 = total_B1 - sure_BNS.sum(dim=(1, 2))[:, None]
    joint_BX = best(score_BNS.flatten(1), (among_BNS & ~sure_BNS).flatten(1), total_B1)
    return sure_BNS | joint_BX.view_as(sure_BNS)
