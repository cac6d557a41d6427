"""Time-to-token attention (Video-XL-Pro, arXiv 2503.18478): each visual token by its group's time text."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.sequence.layout import Kind


class TimeToToken(nn.Module):
    """Visual tokens look at the time text of their own group.

    As published, queries come from the visual tokens through `k_proj`; keys, and values too, from the time
    text through `q_proj`; `v_proj` takes no part.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Builds for embeddings of `width`.

        Raises:
            ConfigError: The heads do not divide the width.
        """
        super().__init__()
        if heads < 1 or width % heads:
            fit = ", ".join(str(n) for n in range(1, 33) if width % n == 0)
            raise ConfigError(
                f"selector.heads={heads} does not divide the language model's width, {width}.\n"
                f"  allowed: {fit}\n  e.g.  selector.heads={4 if width % 4 == 0 else 1}"
            )
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = Carried(width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, shown_SD: Tensor, kind_S: Tensor, group_S: Tensor) -> Tensor:
        """What each of the N visual tokens finds, y_ND; those of groups without time text stay as they are.

        Groups may have any number of time tokens and of visual tokens.
        """
        is_visual_S = kind_S == Kind.VISUAL
        group_S = group_S.long() - group_S.min()
        groups = int(group_S.max()) + 1
        visual_GKD, _, places_N = padded(shown_SD, group_S, is_visual_S, groups)
        time_GMD, is_time_GM, _ = padded(shown_SD, group_S, kind_S == Kind.TIME, groups)
        if not is_time_GM.any():
            return shown_SD[is_visual_S]
        queries_GHKd = self._heads(self.k_proj(visual_GKD))
        values_GHMd = self._heads(self.q_proj(time_GMD))
        timed_G = is_time_GM.any(dim=1)
        seen_G1KM = (is_time_GM | ~timed_G[:, None])[:, None, None]  # no row without anything to see: no NaN
        found_GHKd = F.scaled_dot_product_attention(queries_GHKd, values_GHMd, values_GHMd, seen_G1KM)
        found_GKD = self.out_proj(found_GHKd.transpose(1, 2).flatten(2))
        return torch.where(timed_G[:, None, None], found_GKD, visual_GKD).flatten(0, 1)[places_N]

    def _heads(self, x_GMD: Tensor) -> Tensor:
        return x_GMD.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Carried(nn.Module):
    """A linear layer of the published weights that nothing uses: it is kept for the way back, not trained."""

    weight: Tensor
    bias: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, width))
        self.register_buffer("bias", torch.zeros(width))


def padded(x_SD: Tensor, group_S: Tensor, chosen_S: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """The chosen positions of every group, padded on the right with zeros to the longest.

    Returns:
        x_GMD; which of it are real, bool [G, M]; and where each chosen position went, in [0, G x M).
    """
    group_C = group_S[chosen_S]
    counts_G = torch.bincount(group_C, minlength=groups)
    most = int(counts_G.max()) if len(group_C) else 0
    first_G = counts_G.cumsum(0) - counts_G
    rank_C = torch.arange(len(group_C), device=group_C.device) - first_G[group_C]
    places_C = group_C * most + rank_C
    x_GMD = x_SD.new_zeros(groups * most, x_SD.shape[1]).index_copy(0, places_C, x_SD[chosen_S])
    real_GM = torch.arange(most, device=group_C.device) < counts_G[:, None]
    return x_GMD.unflatten(0, (groups, most)), real_GM, places_C
