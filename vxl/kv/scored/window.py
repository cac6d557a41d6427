"""Scores by an observing window: the attention of the last tokens, pooled over neighbouring entries."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.attention import attention, observed_columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import ASKED, Scored
from vxl.kv.scored.ranking import shared


@dataclass(frozen=True, kw_only=True)
class WindowConfig(ScoredConfig):
    """What policies have whose observers are a window of last tokens."""

    window: int = 32
    """Observing tokens: the last ones of what is read."""
    kernel: int = 7
    """Entries over which attention is pooled before the best are taken, so that neighbours stay together; 1
    takes single ones."""
    pooling: Literal["max", "mean"] = "max"
    """How it is pooled."""
    at: Literal["question", "chunks"] = "question"
    """When: at the question, by the question's tokens, as published; the context keeps everything, also for
    the next question. Or after each piece of the prefill, by the piece's last tokens, which stay within the
    budget: the context then never holds more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(
                f"window={self.window} kernel={self.kernel} observes nothing.\n"
                "  allowed: a window of 1 or more, an odd kernel\n  e.g.  window=32 kernel=7"
            )


@dataclass(frozen=True, kw_only=True)
class SharedConfig(ScoredConfig):
    """What policies have whose heads may share a layer's budget."""

    adaptive: bool = False
    """Whether heads share a layer's budget, more for those whose scores are spread out (Ada-KV, arXiv
    2407.11550); otherwise each head has the same."""
    least: float = 0.2
    """Part of its equal share that each head has in any case (adaptive=true)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.least <= 1:
            raise ConfigError(f"least={self.least} is no part.\n  allowed: 0 to 1")


class Shared(Scored):
    """Lets the heads of a layer share its budget, where `adaptive`."""

    def __init__(self, config: SharedConfig) -> None:
        super().__init__(config)
        self.adaptive, self.least = config.adaptive, config.least
        self.fills = not config.adaptive  # heads keep as many as they need

    @override
    def choose(self, entries: Entries) -> Tensor:
        if not self.adaptive:
            return super().choose(entries)
        score_BNS, sure_BNS = self.score(entries), self.sure(entries)
        open_BNS = entries.open_BNS.expand_as(score_BNS)
        if sure_BNS is None:
            sure_BNS = torch.zeros_like(open_BNS)
        return shared(score_BNS, open_BNS, sure_BNS.expand_as(open_BNS), entries.free_BN1, self.least)


class Windowed(Scored):
    """Score: mean attention of the last `window` tokens, pooled over `kernel` neighbours; the observers are
    sure."""

    together = True

    def __init__(self, config: WindowConfig) -> None:
        self.observers = config.window
        super().__init__(config)
        self.window, self.kernel, self.pooling = config.window, config.kernel, config.pooling

    @override
    def score(self, entries: Entries) -> Tensor:
        _, real_BQ = observed_columns(entries.cache)
        count_B11 = real_BQ[:, -self.window :].sum(dim=1).clamp(min=1)[:, None, None]
        votes_BNS = attention(entries, last=self.window).mean(dim=2) / count_B11
        return among_neighbours(
            votes_BNS.masked_fill(self.own(entries), 0.0), entries.valid_BNS, self.kernel, self.pooling
        )

    @override
    def sure(self, entries: Entries) -> Tensor:
        """The observers."""
        return self.own(entries)

    def own(self, entries: Entries) -> Tensor:
        """Entries of the observers, or of the whole question."""
        if self.settings.at == "question":
            return entries.valid_BNS & (entries.index_BNS >= entries.cache.state[ASKED])
        column_BQ, real_BQ = observed_columns(entries.cache)
        first_B = column_BQ.masked_fill(~real_BQ, entries.cache.fed).amin(dim=1)
        return entries.valid_BNS & (entries.index_BNS >= first_B[:, None, None])


def among_neighbours(
    votes_BNS: Tensor, valid_BNS: Tensor, size: int, pooling: Literal["max", "mean"]
) -> Tensor:
    """Votes pooled over `size` entries that exist."""
    if bool(valid_BNS.all()):
        return pooled(votes_BNS, size, pooling)
    # Neighbours are those that exist: the others stand behind them meanwhile.
    order_BNS = (~valid_BNS).expand_as(votes_BNS).to(torch.uint8).argsort(dim=-1, stable=True)
    there_BNS = valid_BNS.expand_as(votes_BNS).gather(-1, order_BNS)
    votes = votes_BNS.gather(-1, order_BNS).masked_fill(~there_BNS, 0.0)
    return torch.empty_like(votes_BNS).scatter(-1, order_BNS, pooled(votes, size, pooling))


def pooled(votes_BNS: Tensor, size: int, pooling: Literal["max", "mean"]) -> Tensor:
    """Votes and their neighbours'."""
    if pooling == "max":
        return F.max_pool1d(votes_BNS, size, stride=1, padding=size // 2)
    return F.avg_pool1d(votes_BNS, size, stride=1, padding=size // 2)
