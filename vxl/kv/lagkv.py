"""Entries stay that stand out against the partition that follows theirs."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries, single, stacks
from vxl.kv.scored.followed import Followed, forget_evicted, note, numbers_now
from vxl.kv.scored.policy import Scored
from vxl.llm.block import take
from vxl.llm.cache import Cache

STATE = "kv.lagkv"
"""Where a cache notes its partitions' scores."""


@dataclass(frozen=True, kw_only=True)
class LagKVConfig(ScoredConfig):
    """Tokens are scored in partitions of `lag`, each against the next one's range; the best stay."""

    _target_: str = "vxl.kv.lagkv.LagKV"
    at: Literal["chunks"] = "chunks"
    """After each piece of the prefill."""
    lag: int = 128
    """Tokens of a partition."""
    cross: bool = False
    """Whether partitions compete. Otherwise each loses the same part of its tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lag < 2:
            raise ConfigError(f"lag={self.lag} is no partition.\n  allowed: 2 or more\n  e.g.  lag=128")
        if self.tokens is not None and self.tokens < 2 * self.lag:
            raise ConfigError(
                f"tokens={self.tokens} is less than two partitions of lag={self.lag}.\n"
                f"  allowed: {2 * self.lag} entries or more beside what is protected\n"
                f"  e.g.  tokens={4 * self.lag}   or  lag={max(2, self.tokens // 4)}"
            )


class Scores(NamedTuple):
    """What was scored so far."""

    done_B: Tensor
    """Tokens of each row whose partition has its scores, int64."""
    layers: tuple[Followed, ...]
    """Each layer's scores: 1 + score, so that 0 says that there is none yet."""


class LagKV(Scored):
    """Score, of a token in partition i: mean over keys (at their positions) and values of softmax within the
    partition of std_H((x - min) / (max - min)), with minimum and maximum of each channel over partition i +
    1.

    LagKV (arXiv 2504.04704, section 3; kvpress' LagKVPress). `cross=false` takes the rank within the
    partition divided by `lag`, so that ties between partitions are the rule and the older token stays. Sinks,
    the last whole partition and what follows score 1; of fewer than `sinks` + 2 `lag` tokens, the newest
    stay. Where a channel does not vary, kvpress has NaN and this has 0.

    Partitions count the tokens fed that are not protected. Each is scored once, when the next is whole, and
    keeps its scores. With `keep`, partitions get as short as half of the free places while those are few.
    """

    together = True

    def __init__(self, config: LagKVConfig) -> None:
        super().__init__(config)
        self.lag, self.cross = config.lag, config.cross

    def counted(self, columns: Columns) -> Tensor:
        """Columns that belong to partitions, bool [B, F]."""
        later_BF = columns.rank_BF >= self.settings.sinks
        return columns.real_BF & ~self.protected(columns) & later_BF

    @override
    def take_in(self, cache: Cache, columns: Columns) -> None:
        """Scores partitions whose next is whole."""
        host = columns.on_host
        rooms = self.rooms(cache, host, cache.fed)
        free_B = torch.stack(rooms).amin(dim=0) - self.protected(host).sum(dim=1)
        self.refuse_short(free_B)
        total_B = self.counted(host).sum(dim=1)
        earlier: Scores | None = cache.state.get(STATE)
        done_B = torch.zeros_like(total_B) if earlier is None else earlier.done_B.expand_as(total_B).cpu()
        plans = []
        for finished, total, free in zip(done_B.tolist(), total_B.tolist(), free_B.tolist(), strict=True):
            lag = min(self.lag, free // 2)
            plans.append((range(finished, total - 2 * lag + 1, lag) if lag >= 2 else range(0), lag))
        counted_BF = self.counted(columns)
        ordinal_BF = (counted_BF.long().cumsum(dim=1) - 1).masked_fill(~counted_BF, -1)
        scores: list[Followed] = []
        for layers in stacks(cache):
            like, nothing = cache.layers[layers[0]][0], torch.empty(0)
            noted = earlier and earlier.layers
            score_BNS = numbers_now(cache, layers, noted, like.shape[1], single(like.dtype))
            entries = Entries(cache, layers[0], columns, nothing, nothing, tuple(layers[1:]))
            for row, (starts, lag) in enumerate(plans):
                if len(starts):
                    ordinal_BNS = entries.of(ordinal_BF).masked_fill(~entries.valid_BNS, -1)
                    tensors = (score_BNS, ordinal_BNS, entries.turned_BNSH, entries.values_BNSH)
                    self.score_partitions(*(x[row :: cache.rows] for x in tensors), starts, lag)
            scores += note(cache, layers, score_BNS)
        done_B = done_B + torch.tensor([lag * len(starts) for starts, lag in plans])
        cache.state[STATE] = Scores(done_B.to(cache.next_B.device), tuple(scores))

    def score_partitions(
        self,
        score_LNS: Tensor,
        ordinal_LNS: Tensor,
        key_LNSH: Tensor,
        value_LNSH: Tensor,
        starts: range,
        lag: int,
    ) -> None:
        """Scores partitions of a row in some layers, in place: 1 + score.

        Args:
            score_LNS: Of every entry.
            ordinal_LNS: Which token of those that partitions count an entry is; -1 at others. N may be 1.
            key_LNSH: At their positions.
            value_LNSH: As they are.
            starts: The first token of each partition, `lag` apart.
            lag: Tokens of a partition.
        """
        (layers, heads, entries), scored = score_LNS.shape, lag * len(starts)
        token_LNS = (ordinal_LNS - starts[0]).expand(layers, heads, -1)
        inside_LNS = (token_LNS >= 0) & (token_LNS < scored + lag)
        # Where each token of the partitions and of the one behind them stands; -1: it is not held.
        entry_LNU = token_LNS.new_full((layers, heads, scored + lag + 1), -1)
        number_LNS = torch.arange(entries, device=token_LNS.device).expand_as(token_LNS)
        entry_LNU.scatter_(2, torch.where(inside_LNS, token_LNS, scored + lag), number_LNS)
        entry_LNU = entry_LNU[..., :-1]
        there_LNPU = (entry_LNU >= 0).unflatten(2, (-1, lag))
        own_LNPU = there_LNPU[:, :, :-1]
        parts = []
        for x_LNSH in (key_LNSH, value_LNSH):
            of_tokens = take(x_LNSH, entry_LNU.clamp(min=0)).unflatten(2, (-1, lag))
            spread_LNPU = spread(of_tokens[:, :, :-1], of_tokens[:, :, 1:], there_LNPU[:, :, 1:])
            parts.append(spread_LNPU.masked_fill(~own_LNPU, -torch.inf).softmax(dim=-1))
        both_LNPU = (parts[0] + parts[1]) / 2
        if not self.cross:
            order = both_LNPU.masked_fill(~own_LNPU, torch.inf).argsort(dim=-1, stable=True)
            both_LNPU = order.argsort(dim=-1).to(both_LNPU.dtype) / lag
        found_LNPU = own_LNPU & there_LNPU[:, :, 1:].any(dim=-1, keepdim=True)
        # One column more takes the scores of what is not held.
        at = torch.where(found_LNPU.flatten(2), entry_LNU[..., :scored], entries)
        more = torch.cat((score_LNS, score_LNS[..., :1]), dim=-1)
        score_LNS.copy_(more.scatter_(2, at, 1 + both_LNPU.flatten(2))[..., :-1])

    def refuse_short(self, free_B: Tensor) -> None:
        """Raises where a budget in entries has no room for two partitions.

        Raises:
            ConfigError: It has not.
        """
        tokens, least = self.settings.tokens, int(free_B.min())
        if tokens is not None and least < 2 * self.lag:
            raise ConfigError(
                f"kv.tokens={tokens} leaves {least} entries beside what is protected, less than "
                f"two partitions of kv.lag={self.lag}.\n"
                f"  allowed: kv.tokens of {tokens + 2 * self.lag - least} or more\n"
                f"  e.g.  kv.tokens={2 * (tokens + 2 * self.lag - least)}   or  kv.lag={max(2, least // 4)}"
            )

    @override
    def dropped(self, cache: Cache) -> None:
        """Lets go of the scores of what is gone."""
        earlier: Scores = cache.state[STATE]
        cache.state[STATE] = Scores(earlier.done_B, forget_evicted(cache, earlier.layers))

    @override
    def score(self, entries: Entries) -> Tensor:
        scores: Scores = entries.cache.state[STATE]
        layer = scores.layers[entries.layer]
        heads, dtype = layer.number_BNS.shape[1], layer.number_BNS.dtype
        score_BNS = numbers_now(entries.cache, entries.layers, scores.layers, heads, dtype)
        score_BNS = torch.where(score_BNS > 0, score_BNS - 1, 1.0)
        # Nothing scored yet: the newest stay.
        age_BNS = entries.of(entries.columns.rank_BF).to(dtype) / max(1, entries.cache.fed)
        early_B = scores.done_B == 0
        first_BNS = entries.of(entries.columns.rank_BF) < self.settings.sinks
        age_BNS = age_BNS.masked_fill(first_BNS, 1.0).expand_as(score_BNS)
        return torch.where(early_B[:, None, None], age_BNS, score_BNS)


def spread(x_UH: Tensor, reference_VH: Tensor, there_V: Tensor) -> Tensor:
    """Standard deviation over channels of vectors scaled by the range of those others that are there, [U].

    Axes in front of these are parts of which each has its own range."""
    gone_V1 = ~there_V[..., None]
    low_1H = reference_VH.masked_fill(gone_V1, torch.inf).amin(dim=-2, keepdim=True)
    high_1H = reference_VH.masked_fill(gone_V1, -torch.inf).amax(dim=-2, keepdim=True)
    width_1H = high_1H - low_1H
    scaled_UH = (x_UH - low_1H) / width_1H.masked_fill(width_1H == 0, 1.0)
    return scaled_UH.masked_fill(width_1H == 0, 0.0).std(dim=-1)
