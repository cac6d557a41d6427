"""Entries stay that differ from the newest frames at their place, and those with long values."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries, unit
from vxl.kv.scored.followed import Followed, forget_evicted, note, numbers_now
from vxl.kv.scored.policy import Scored
from vxl.kv.scored.ranking import best, newest
from vxl.llm.cache import Cache
from vxl.option.option import option

LENGTHS = "kv.infinipot"
"""Where a cache notes the averaged lengths of values."""
KERNELS = (7, 5)
"""Sides of the squares that lengths are averaged over in the first two quarters of the layers."""


@dataclass(frozen=True, kw_only=True)
class InfiniPotConfig(ScoredConfig):
    """Half of the places for entries that differ most from the newest groups at the same place, half for
    those with the longest values, in every head its own."""

    _target_: str = "vxl.kv.infinipot.InfiniPot"
    tar: float = 0.5
    """Part of the places that temporal redundancy fills; value norms fill the rest."""
    recent: float = 0.25
    """Part of the held groups, the newest ones, that others are compared with."""
    pool: Literal["none", "layers"] = option("none", later=True)
    """Whether the lengths of values are averaged over neighbours: `layers`, as published, more in lower
    layers; over the groups that come in together, which must be whole squares, and before anything is
    evicted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tar <= 1 or not 0 < self.recent <= 1:
            raise ConfigError(
                f"tar={self.tar} recent={self.recent} are no parts.\n"
                "  allowed: 0 <= tar <= 1, 0 < recent <= 1\n  e.g.  tar=0.5 recent=0.25"
            )
        if self.pool != "none" and self.at != "chunks":
            raise ConfigError(
                f"pool={self.pool} at={self.at} do not go together: lengths are averaged when groups come.\n"
                "  allowed: pool=layers at=chunks, or pool=none"
            )


class InfiniPot(Scored):
    """Stays: the newest groups and the entries least like them at their own place (t_e), then the largest
    ||v_e||.

    InfiniPot-V (arXiv 2506.15745, section 3; aiha-lab/InfiniPot-V, kvcache_utils.py). Of `free` places tar =
    free - round(free * (1 - tar)) go by t_e = -k_e . r_j / ||k_e||, with r_j the mean of k / ||k|| of the n
    newest groups at the entry's place j; n = recent * held / K, at least 1 and at most tar / K. If the n
    groups fit into tar, they are sure.

    With pool=layers, ||v_e|| are means over neighbours: in the lowest quarter of the layers over 7 groups, 7
    rows and 7 columns, in the next over 5 rows and 5 columns, in the third over 3 entries in order, in the
    highest not at all; kernels are cut to what there is, and zeros outside count.

    After its first eviction the published code cuts what is left into "frames" of K consecutive survivors, so
    that "the same place" is no longer true, and it pools over that grid; here j is the true place, and what
    comes in is pooled once, before it loses anything. The published code raises where the cache holds less
    than half of what comes, and for numbers of layers that are no multiple of 4; here there are no such
    limits.
    """

    def __init__(self, config: InfiniPotConfig) -> None:
        super().__init__(config)
        self.tar, self.recent = config.tar, config.recent
        self.pooling = config.pool != "none"
        self.together = not self.pooling  # lengths are noted layer by layer

    @override
    def take_in(self, cache: Cache, columns: Columns) -> None:
        """Averages the lengths of the values of a new piece."""
        if not self.pooling:
            return
        earlier = cache.state.get(LENGTHS)
        first = cache.fed - cache.layouts[-1].shape[1]
        grids = [square_groups(columns, row, first) for row in range(cache.rows)]
        lengths: list[Followed] = []
        for layer in range(len(cache.layers)):
            entries = self.entries(cache, layer, columns, columns.real_BF.sum(dim=1))
            own_BNS = entries.value_norms_BNS
            old_BNS = numbers_now(cache, (layer,), earlier, own_BNS.shape[1], own_BNS.dtype)
            index_BNS = entries.index_BNS.expand_as(own_BNS)
            new_BNS = (entries.valid_BNS & (entries.index_BNS >= first)).expand_as(own_BNS)
            at_BNS = torch.where(new_BNS, index_BNS - first, cache.fed - first)
            piece_BNT = own_BNS.new_zeros(*own_BNS.shape[:2], cache.fed - first + 1)
            piece_BNT.scatter_(2, at_BNS, own_BNS)
            quarter = min(3, layer // max(1, len(cache.layers) // 4))
            for row, grid_GK in enumerate(grids):
                if grid_GK is not None:
                    piece_BNT[row, :, grid_GK] = pooled(piece_BNT[row, :, grid_GK], quarter)
            lengths += note(cache, (layer,), torch.where(new_BNS, piece_BNT.gather(2, at_BNS), old_BNS))
        cache.state[LENGTHS] = tuple(lengths)

    @override
    def dropped(self, cache: Cache) -> None:
        """Lets go of the lengths of what is gone."""
        cache.state[LENGTHS] = forget_evicted(cache, cache.state.get(LENGTHS, ()))

    def lengths(self, entries: Entries) -> Tensor:
        """||v_e|| of each entry, or the mean over its neighbours, [B, N, S]."""
        own_BNS = entries.values_BNSH.norm(dim=-1)
        if not self.pooling:
            return own_BNS
        lengths = entries.cache.state[LENGTHS]
        return numbers_now(entries.cache, entries.layers, lengths, own_BNS.shape[1], own_BNS.dtype)

    @override
    def choose(self, entries: Entries) -> Tensor:
        heads = entries.keys_BNSH.shape[1]
        open_BNS = entries.open_BNS.expand(-1, heads, -1)
        free_BN1 = entries.free_BN1.expand(-1, heads, -1)
        tar_BN1 = free_BN1 - (free_BN1.double() * (1 - self.tar)).round().long()
        columns = entries.columns
        size_B11 = columns.sizes_BG.gather(1, columns.last_group_B.clamp(min=0)[:, None])[..., None]
        size_B11 = size_B11.clamp(min=1)
        count_BN1 = open_BNS.sum(dim=-1, keepdim=True)
        most_BN1 = (count_BN1.double() * self.recent / size_B11).floor().long()
        groups_BN1 = torch.minimum(most_BN1, tar_BN1 // size_B11).clamp(min=1)
        oldest_BN1 = columns.last_group_B[:, None, None] - groups_BN1 + 1
        newest_BNS = open_BNS & (entries.group_BNS >= oldest_BN1.clamp(min=0))  # text has no group
        unlike_BNS = -self.redundancy(entries, newest_BNS, groups_BN1)
        fits_BN1 = groups_BN1 * size_B11 <= tar_BN1
        # Pruned groups have unlike sizes, so that the newest may be more than so many times the last one.
        sure_BNS = newest(newest_BNS & fits_BN1, tar_BN1)
        score_BNS = torch.where(newest_BNS, torch.full_like(unlike_BNS, -1.0), unlike_BNS)
        left_BN1 = tar_BN1 - sure_BNS.sum(dim=-1, keepdim=True)
        first_BNS = sure_BNS | best(score_BNS, open_BNS & ~sure_BNS, left_BN1)
        rest_BN1 = free_BN1 - first_BNS.sum(dim=-1, keepdim=True)
        return first_BNS | best(self.lengths(entries), open_BNS & ~first_BNS, rest_BN1)

    def redundancy(self, entries: Entries, newest_BNS: Tensor, groups_BN1: Tensor) -> Tensor:
        """Mean cosine of each entry's key and those of the newest groups at its place, [B, N, S]."""
        key_BNSH = unit(entries.turned_BNSH, eps=1e-9)
        place_BNS = entries.place_BNS.clamp(min=0).expand(newest_BNS.shape)
        places = max(1, int(entries.columns.on_host.sizes_BG.max()))
        # Sums by a product: entries added one by one to so few places would wait in line on a GPU, and come
        # in another order each time.
        every_J1 = torch.arange(places, device=place_BNS.device)[:, None]
        at_BNJS = ((place_BNS[:, :, None] == every_J1) & newest_BNS[:, :, None]).to(key_BNSH.dtype)
        mean_BNJH = (at_BNJS @ key_BNSH) / groups_BN1[..., None]
        own_BNSH = mean_BNJH.gather(2, place_BNS.clamp(max=places - 1)[..., None].expand_as(key_BNSH))
        return (key_BNSH * own_BNSH).sum(dim=-1)


def square_groups(columns: Columns, row: int, first: int) -> Tensor | None:
    """Where a piece's groups stand in it, int64 [G, K]; None where a row has none.

    Raises:
        ConfigError: They are no squares of one size.
    """
    shown_T = columns.visual_BF[row, first:].nonzero()[:, 0]
    if not len(shown_T):
        return None
    _, sizes_G = columns.group_BF[row, first:][shown_T].unique_consecutive(return_counts=True)
    size = int(sizes_G[0])
    if math.isqrt(size) ** 2 != size or bool((sizes_G != size).any()):
        raise ConfigError(
            f"kv.pool=layers averages over squares, but groups have {sorted(set(sizes_G.tolist()))} visual "
            "tokens.\n  type one of  kv.pool=none\n               prune=none selector=none"
        )
    return shown_T.view(-1, size)


def pooled(length_NGK: Tensor, quarter: int) -> Tensor:
    """Means over neighbours, as a layer of this quarter has them, of the lengths of G whole groups."""
    heads, groups, size = length_NGK.shape
    if quarter == 3:
        return length_NGK
    if quarter == 2:
        return F.avg_pool1d(length_NGK.reshape(heads, 1, -1), 3, stride=1, padding=1).view_as(length_NGK)
    side = math.isqrt(size)
    most = min(KERNELS[quarter], groups, side)
    kernel = most if most % 2 else most - 1
    deep = kernel if quarter == 0 else 1
    grid = length_NGK.reshape(heads, 1, groups, side, side)
    padding = (deep // 2, kernel // 2, kernel // 2)
    return F.avg_pool3d(grid, (deep, kernel, kernel), stride=1, padding=padding).view_as(length_NGK)
