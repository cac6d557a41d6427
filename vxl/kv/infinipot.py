"""Entries stay that differ from the newest frames at their place, and those with long values."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.held import Held, unit
from vxl.kv.scored.policy import Scored
from vxl.kv.scored.ranking import best


@dataclass(frozen=True, kw_only=True)
class InfiniPotConfig(ScoredConfig):
    """Half of the places for entries that differ most from the newest groups at the same place, half for
    those with the longest values, in every head its own."""

    _target_: str = "vxl.kv.infinipot.InfiniPot"
    tar: float = 0.5
    """Part of the places that temporal redundancy fills; value norms fill the rest."""
    recent: float = 0.25
    """Part of the held groups, the newest ones, that others are compared with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tar <= 1 or not 0 < self.recent <= 1:
            raise ConfigError(
                f"tar={self.tar} recent={self.recent} are no parts.\n"
                "  allowed: 0 <= tar <= 1, 0 < recent <= 1\n  e.g.  tar=0.5 recent=0.25"
            )


class InfiniPot(Scored):
    """Stays: the newest groups and the entries least like them at their own place (t_e), then the largest
    ||v_e||.

    InfiniPot-V (arXiv 2506.15745, section 3; aiha-lab/InfiniPot-V, kvcache_utils.py). Of `free` places tar =
    free - round(free * (1 - tar)) go by t_e = -k_e . r_j / ||k_e||, with r_j the mean of k / ||k|| of the n
    newest groups at the entry's place j; n = recent * held / K, at least 1 and at most tar / K. If the n
    groups fit into tar, they are sure.

    After its first eviction the published code cuts what is left into "frames" of K consecutive survivors, so
    that "the same place" is no longer true, and it pools value norms over that grid in the lower layers; here
    j is the true place, and norms are not pooled. The published code raises where the cache holds less than
    half of what comes; here there is no such limit.
    """

    def __init__(self, config: InfiniPotConfig) -> None:
        super().__init__(config)
        self.tar, self.recent = config.tar, config.recent

    @override
    def choose(self, held: Held) -> Tensor:
        heads = held.keys_BNSH.shape[1]
        open_BNS = held.open_BNS.expand(-1, heads, -1)
        free_BN1 = held.free_BN1.expand(-1, heads, -1)
        tar_BN1 = free_BN1 - (free_BN1.double() * (1 - self.tar)).round().long()
        columns = held.columns
        size_B11 = columns.sizes_BG.gather(1, columns.last_group_B.clamp(min=0)[:, None])[..., None]
        size_B11 = size_B11.clamp(min=1)
        count_BN1 = open_BNS.sum(dim=-1, keepdim=True)
        most_BN1 = (count_BN1.double() * self.recent / size_B11).floor().long()
        groups_BN1 = torch.minimum(most_BN1, tar_BN1 // size_B11).clamp(min=1)
        newest_BNS = open_BNS & (held.group_BNS > columns.last_group_B[:, None, None] - groups_BN1)
        unlike_BNS = -self.redundancy(held, newest_BNS, groups_BN1)
        fits_BN1 = groups_BN1 * size_B11 <= tar_BN1
        sure_BNS = newest_BNS & fits_BN1
        score_BNS = torch.where(newest_BNS, torch.full_like(unlike_BNS, -1.0), unlike_BNS)
        left_BN1 = tar_BN1 - sure_BNS.sum(dim=-1, keepdim=True)
        first_BNS = sure_BNS | best(score_BNS, open_BNS & ~sure_BNS, left_BN1)
        rest_BN1 = free_BN1 - first_BNS.sum(dim=-1, keepdim=True)
        return first_BNS | best(held.values_BNSH.norm(dim=-1), open_BNS & ~first_BNS, rest_BN1)

    def redundancy(self, held: Held, newest_BNS: Tensor, groups_BN1: Tensor) -> Tensor:
        """Mean cosine of each entry's key and those of the newest groups at its place, [B, N, S]."""
        key_BNSH = unit(held.turned_BNSH, eps=1e-9)
        place_BNS = held.place_BNS.clamp(min=0).expand(newest_BNS.shape)
        places = int(place_BNS.masked_fill(~newest_BNS, 0).max()) + 1
        at_BNS = torch.where(newest_BNS, place_BNS, places)
        rows, heads, _, width = key_BNSH.shape
        mean_BNJH = key_BNSH.new_zeros(rows, heads, places + 1, width)
        mean_BNJH.scatter_add_(2, at_BNS[..., None].expand_as(key_BNSH), key_BNSH)
        mean_BNJH[:, :, -1] = 0  # a place that the newest groups lack
        mean_BNJH = mean_BNJH / groups_BN1[..., None]
        own_BNSH = mean_BNJH.gather(2, place_BNS.clamp(max=places)[..., None].expand_as(key_BNSH))
        return (key_BNSH * own_BNSH).sum(dim=-1)
