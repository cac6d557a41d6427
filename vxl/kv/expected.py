"""Entries stay that queries yet to come are expected to attend to."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.attention import EVERY, observed_columns
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored
from vxl.llm.cache import Cache
from vxl.llm.rope import Rotary

QUERIES = "kv.expected"
"""Where a cache notes the moments of the queries of what was watched."""


@dataclass(frozen=True, kw_only=True)
class ExpectedConfig(ScoredConfig):
    """The entries stay that later queries are expected to attend to most, weighted with the values' norms."""

    _target_: str = "vxl.kv.expected.Expected"
    at: Literal["chunks"] = "chunks"
    """After each piece of the prefill."""
    future: int = 512
    """Next positions over which the rotation of the expected query is averaged."""
    covariance: bool = True
    """Whether the spread of the queries counts, beside their mean."""
    vnorm: bool = True
    """Whether scores are multiplied by the norm of the value."""
    eps: float = 0.0
    """Added to the expected attention before that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.future < 1 or self.eps < 0:
            raise ConfigError(
                f"future={self.future} eps={self.eps} expect nothing.\n"
                "  allowed: 1 or more positions, eps of 0 or more\n  e.g.  future=512 eps=0"
            )


class Moments(NamedTuple):
    """What is known of the un-rotated queries of one layer's query heads (M), float64."""

    count_B: Tensor
    sum_BMH: Tensor
    squares_BMHH: Tensor
    """Sum of the outer products."""


class Expected(Scored):
    """Score: (softmax_e(x_e) + eps) * ||v_e||, the softmax meaned over query heads, with
    x_e = k_e . M mu / sqrt(H) + k_e^T M C M^T k_e / (2 H).

    Expected attention (arXiv 2510.00636, section 3). mu and C are mean and covariance of the un-rotated
    queries of all tokens so far but the first `sinks`; M is the mean of the rotations to the next `future`
    positions (the mean matrix on both sides, not the mean of the products). The first `sinks` tokens are
    sure. Moments are kept exactly, so they do not depend on the pieces; the softmax is over what is held at
    the time. kvpress (ExpectedAttentionPress) has eps 0 by default; the paper's experiments may have another.
    """

    observers = EVERY
    together = True

    def __init__(self, config: ExpectedConfig) -> None:
        super().__init__(config)
        self.future, self.covariance = config.future, config.covariance
        self.vnorm, self.eps = config.vnorm, config.eps

    @override
    def take_in(self, cache: Cache, columns: Columns) -> None:
        """Adds the queries of the newest pass."""
        observed = cache.observed
        assert observed is not None, "the last pass was not observed"
        column_BQ, real_BQ = observed_columns(cache)
        rank_BQ = columns.rank_BF.gather(1, column_BQ.clamp(min=0))
        counts_BQ = real_BQ & (rank_BQ >= self.settings.sinks)
        # The pass began at next - its own tokens; of a row without any, nothing counts.
        own_B = observed.columns_BQ[:, -1] + 1
        position_BQ = (cache.next_B - own_B)[:, None] + observed.columns_BQ
        earlier = cache.state.get(QUERIES)
        moments = []
        for layer, query_BMQH in enumerate(observed.queries):
            query = cache.rotary.turn(query_BMQH.double(), -position_BQ[:, None])
            query = query * counts_BQ[:, None, :, None]
            sums = Moments(counts_BQ.sum(dim=1), query.sum(dim=2), query.mT @ query)
            if earlier is not None:
                sums = Moments(*(a + b for a, b in zip(earlier[layer], sums, strict=True)))
            moments.append(sums)
        cache.state[QUERIES] = tuple(moments)

    @override
    def score(self, entries: Entries) -> Tensor:
        cache, key_BNSH = entries.cache, entries.turned_BNSH
        heads, width = key_BNSH.shape[1], key_BNSH.shape[3]
        noted = [cache.state[QUERIES][layer] for layer in entries.layers]
        moments = Moments(*(torch.cat(parts) for parts in zip(*noted, strict=True)))
        count_B111 = moments.count_B.clamp(min=1)[:, None, None, None]
        mean_BMH = moments.sum_BMH / count_B111[..., 0]
        cos_B11H, sin_B11H = (
            x[:, None, None] for x in mean_rotation(cache.rotary, cache.next_B, self.future)
        )
        ahead_BMH = turned(mean_BMH, cos_B11H[:, 0], sin_B11H[:, 0])
        ahead_BNRH = ahead_BMH.unflatten(1, (heads, -1)).to(key_BNSH.dtype)
        sharing = ahead_BNRH.shape[2]
        if self.covariance:
            spread_BMHH = moments.squares_BMHH / count_B111 - mean_BMH[..., None] * mean_BMH[:, :, None]
            half = turned(spread_BMHH, cos_B11H, sin_B11H)  # C M^T, row by row
            both_BNRHH = turned(half.mT, cos_B11H, sin_B11H).unflatten(1, (heads, -1)).to(key_BNSH.dtype)
        seen_BNS = entries.valid_BNS & (entries.of(entries.columns.rank_BF) >= self.settings.sinks)
        lowest = torch.finfo(key_BNSH.dtype).min
        weight_BNS = key_BNSH.new_zeros(key_BNSH.shape[:3])
        # One query head of each key-value head at a time: the products of all would be R times the keys.
        for r in range(sharing):
            x_BNS = (key_BNSH @ ahead_BNRH[:, :, r, :, None])[..., 0] * width**-0.5
            if self.covariance:
                x_BNS += (key_BNSH @ both_BNRHH[:, :, r]).mul_(key_BNSH).sum(dim=-1) / width / 2
            weight_BNS += x_BNS.masked_fill(~seen_BNS, lowest).softmax(dim=-1) * seen_BNS
        weight_BNS = weight_BNS / sharing + self.eps
        return weight_BNS * entries.value_norms_BNS if self.vnorm else weight_BNS

    @override
    def sure(self, entries: Entries) -> Tensor:
        """The first tokens."""
        return entries.of(entries.columns.rank_BF) < self.settings.sinks


def mean_rotation(rotary: Rotary, next_B: Tensor, future: int) -> tuple[Tensor, Tensor]:
    """Mean cosine and sine over the next positions, [B, H], float64."""
    position_BF = next_B[:, None] + torch.arange(future, device=next_B.device)
    cos_BFH, sin_BFH = rotary.angles(position_BF, torch.float64)
    return cos_BFH.mean(dim=1), sin_BFH.mean(dim=1)


def turned(vector: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """A mean rotation applied to vectors of the last axis."""
    first, second = vector.chunk(2, dim=-1)
    return vector * cos + torch.cat((-second, first), dim=-1) * sin
