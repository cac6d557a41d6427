"""Semantic-guided masking: which patches the reconstruction of a group goes without (Video-XL-Pro).

The paper (arXiv 2503.18478) scores patches and masks low-scoring ones at random, in this training alone. Its
code was not published: the scores follow its text; how they become a draw, and how learning reaches them, is
chosen here (see `ReconstructConfig`).
"""

import torch
from torch import Tensor, nn


class Guide(nn.Module):
    """Scores every patch by a query from the frame before it and one from its own frame's mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.temporal = nn.Linear(width, width)
        self.spatial = nn.Linear(width, width)

    def forward(self, patches_GFPV: Tensor) -> Tensor:
        """scores_GFP: patch . temporal(the same patch a frame earlier) + patch . spatial(mean of its frame).

        Before a group's first frame stand zeros.
        """
        earlier_GFPV = torch.cat([torch.zeros_like(patches_GFPV[:, :1]), patches_GFPV[:, :-1]], 1)
        query_GFPV = self.temporal(earlier_GFPV) + self.spatial(patches_GFPV.mean(2, keepdim=True))
        precise = torch.promote_types(patches_GFPV.dtype, torch.float32)
        return (patches_GFPV.to(precise) * query_GFPV).sum(-1)


def draw_kept(scores_GFP: Tensor, masked: int, noise: float) -> Tensor:
    """kept_GFP: 1 for a patch that stays, 0 for each of the `masked` patches of a group that do not.

    Scores are brought to mean 0 and deviation 1 within a group and get Gumbel noise; the lowest are masked.
    So with noise=1 those that stay are drawn without replacement, with odds that are exponentials of these
    scores. The values are exactly 0 and 1; the gradient is that of a sigmoid around the border between both
    (straight-through).

    Args:
        scores_GFP: Of all patches of each group.
        masked: How many of a group's F x P patches to mask.
        noise: Scale of the noise; 0: the lowest scores, whatever the generator says.
    """
    scores_GN = scores_GFP.flatten(1)
    if not masked:
        return torch.ones_like(scores_GFP)
    centred_GN = scores_GN - scores_GN.mean(1, keepdim=True)
    standard_GN = centred_GN * (centred_GN.square().mean(1, keepdim=True) + 1e-12).rsqrt()
    uniform_GN = torch.rand_like(standard_GN).clamp_min(torch.finfo(standard_GN.dtype).tiny)
    odds_GN = standard_GN - noise * (-uniform_GN.log()).log()
    order_GN = odds_GN.detach().argsort(dim=1, stable=True)
    kept_GN = (order_GN.argsort(1) >= masked).to(odds_GN.dtype)
    ends_G2 = odds_GN.detach().gather(1, order_GN[:, masked - 1 : masked + 1])
    soft_GN = torch.sigmoid(odds_GN - ends_G2.mean(1, keepdim=True))
    return (kept_GN + (soft_GN - soft_GN.detach())).view_as(scores_GFP)
