"""Entries stay that stand out against the partition that follows theirs."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.followed import Followed, forget_evicted, note, numbers_now
from vxl.kv.scored.policy import Scored
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
        rooms = self.rooms(cache, columns, cache.fed)
        protected_B = self.protected(columns).sum(dim=1)
        free_B = torch.stack(rooms).amin(dim=0) - protected_B
        self.refuse_short(free_B)
        counted_BF = self.counted(columns)
        ordinal_BF = (counted_BF.long().cumsum(dim=1) - 1).masked_fill(~counted_BF, -1)
        total_B = counted_BF.sum(dim=1)
        earlier = cache.state.get(STATE)
        layers = range(len(cache.layers))
        done_B = torch.zeros_like(total_B) if earlier is None else earlier.done_B.expand_as(total_B).clone()
        scores = []
        for layer in layers:
            entries = self.entries(cache, layer, columns, rooms[layer])
            heads, dtype = entries.keys_BNSH.shape[1], entries.keys_BNSH.dtype
            scores.append(numbers_now(cache, layer, earlier and earlier.layers[layer], heads, dtype))
        for row, (finished, total, free) in enumerate(
            zip(done_B.tolist(), total_B.tolist(), free_B.tolist(), strict=True)
        ):
            lag = min(self.lag, free // 2)
            starts = range(finished, total - 2 * lag + 1, lag) if lag >= 2 else range(0)
            for layer in layers if len(starts) else ():
                entries = self.entries(cache, layer, columns, rooms[layer])
                ordinal_NS = entries.of(ordinal_BF)[row].masked_fill(~entries.valid_BNS[row], -1)
                keys_NSH, values_NSH = entries.turned_BNSH[row], entries.values_BNSH[row]
                ordinal_NS = ordinal_NS.expand(len(keys_NSH), -1)
                for head in range(len(keys_NSH)):
                    self.score_partitions(
                        scores[layer][row, head],
                        ordinal_NS[head],
                        keys_NSH[head],
                        values_NSH[head],
                        starts,
                        lag,
                    )
            done_B[row] += lag * len(starts)
        cache.state[STATE] = Scores(
            done_B, tuple(note(cache, n, score_BNS) for n, score_BNS in enumerate(scores))
        )

    def score_partitions(
        self, score_S: Tensor, ordinal_S: Tensor, key_SH: Tensor, value_SH: Tensor, starts: range, lag: int
    ) -> None:
        """Scores partitions of one head, in place: 1 + score."""
        for start in starts:
            own = ((ordinal_S >= start) & (ordinal_S < start + lag)).nonzero()[:, 0]
            following = ((ordinal_S >= start + lag) & (ordinal_S < start + 2 * lag)).nonzero()[:, 0]
            if len(own) and len(following):
                parts = [spread(x[own], x[following]).softmax(dim=0) for x in (key_SH, value_SH)]
                both = (parts[0] + parts[1]) / 2
                if not self.cross:
                    both = both.argsort(stable=True).argsort().to(both.dtype) / lag
                score_S[own] = 1 + both

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
        layer_scores = tuple(forget_evicted(cache, n, numbers) for n, numbers in enumerate(earlier.layers))
        cache.state[STATE] = Scores(earlier.done_B, layer_scores)

    @override
    def score(self, entries: Entries) -> Tensor:
        scores: Scores = entries.cache.state[STATE]
        layer = scores.layers[entries.layer]
        heads, dtype = layer.number_BNS.shape[1], layer.number_BNS.dtype
        score_BNS = numbers_now(entries.cache, entries.layer, layer, heads, dtype)
        score_BNS = torch.where(score_BNS > 0, score_BNS - 1, 1.0)
        # Nothing scored yet: the newest stay.
        age_BNS = entries.of(entries.columns.rank_BF).to(dtype) / max(1, entries.cache.fed)
        early_B = scores.done_B == 0
        first_BNS = entries.of(entries.columns.rank_BF) < self.settings.sinks
        age_BNS = age_BNS.masked_fill(first_BNS, 1.0).expand_as(score_BNS)
        return torch.where(early_B[:, None, None], age_BNS, score_BNS)


def spread(x_UH: Tensor, reference_VH: Tensor) -> Tensor:
    """Standard deviation over channels of vectors scaled by the range of others, [U]."""
    low_H, high_H = reference_VH.amin(dim=0), reference_VH.amax(dim=0)
    width_H = high_H - low_H
    scaled_UH = (x_UH - low_H) / width_H.masked_fill(width_H == 0, 1.0)
    return scaled_UH.masked_fill(width_H == 0, 0.0).std(dim=-1)
