"""The entries stay that the last tokens look at (SnapKV, arXiv 2404.14469), head by head.

Letters: B rows · N key-value heads · S entries · Q observing tokens.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.budget import BudgetConfig, budget
from vxl.kv.policy import Policy
from vxl.llm.cache import Cache
from vxl.relevance.base import Question
from vxl.sequence.piece import Piece

WATCHED = "kv.snapkv"
"""Where a cache notes how many tokens its rows have watched."""


@dataclass(frozen=True, kw_only=True)
class SnapKVConfig(BudgetConfig):
    """Of the video the entries stay that the question's last tokens attend to most, in every head its own."""

    _target_: str = "vxl.kv.snapkv.SnapKV"
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
    adaptive: bool = False
    """Whether heads share a layer's budget, more for those whose attention is spread out (Ada-KV, arXiv
    2407.11550); otherwise each head has the same."""
    least: float = 0.2
    """Part of its equal share that each head has in any case (adaptive=true)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(
                f"window={self.window} kernel={self.kernel} observes nothing.\n"
                "  allowed: a window of 1 or more, an odd kernel\n  e.g.  window=32 kernel=7"
            )
        if not 0 <= self.least <= 1:
            raise ConfigError(f"least={self.least} is no part.\n  allowed: 0 to 1")


class SnapKV(Policy):
    """Observes the last tokens' queries and evicts what they do not look at."""

    def __init__(self, config: SnapKVConfig) -> None:
        super().__init__(config)
        self.settings = config
        if config.at == "chunks":
            self.observe_chunks = config.window
        else:
            self.observe_question = config.window

    @property
    def acts_in_prefill(self) -> bool:
        """Whether pieces of the prefill are to be single chunks."""
        return self.settings.at == "chunks"

    def after_chunk(self, cache: Cache, piece: Piece) -> None:
        """Evicts down to the budget of what was watched so far."""
        if self.settings.at != "chunks":
            return
        new = piece.embeds_BTD.shape[1] if piece.valid_BT is None else piece.valid_BT.sum(dim=1)
        watched_B = cache.state.get(WATCHED, torch.zeros_like(cache.next_B)) + new
        cache.state[WATCHED] = watched_B
        room_B = budget(self.settings, watched_B)
        assert cache.observed is not None
        own_B = cache.observed.real_BQ.sum(dim=1)
        self.evict(cache, room_B, last=cache.observed.tokens, stay_B=torch.minimum(own_B, room_B))

    def after_question(self, cache: Cache, question: Question) -> None:
        """Evicts what was watched down to the budget; the question's own entries stay beside it."""
        if self.settings.at == "question":
            own_B = question.tokens_B
            watched_B = cache.valid()[:, 0].sum(dim=-1) - own_B
            room_B = budget(self.settings, watched_B) + own_B
            self.evict(cache, room_B, last=question.embeds_BTD.shape[1], stay_B=own_B)

    def evict(self, cache: Cache, room_B: Tensor, *, last: int, stay_B: Tensor) -> None:
        """Drops the entries with the least attention.

        Args:
            cache: Whose last pass was observed.
            room_B: Entries that may stay in each head.
            last: Of these last columns fed ...
            stay_B: ... so many stay in any case, the newest.
        """
        if bool((cache.valid().sum(dim=-1) <= room_B[:, None]).all()):
            return
        cache.join()  # heads keep different numbers of a block's entries, but as many of all of them
        keep = []
        for layer in range(len(cache.layers)):
            valid_BNS, index_BNS = cache.valid(layer), cache.index(layer)
            age_BNS = (valid_BNS & (index_BNS >= cache.fed - last)).flip(-1).cumsum(dim=-1).flip(-1)
            sure_BNS = valid_BNS & (index_BNS >= cache.fed - last) & (age_BNS <= stay_B[:, None, None])
            votes_BNS = self.votes(cache, layer, valid_BNS, index_BNS).masked_fill(sure_BNS, 0.0)
            votes_BNS = self.among_neighbours(votes_BNS, valid_BNS)
            keep.append(self.best(votes_BNS, valid_BNS, sure_BNS, room_B))
        cache.keep(keep)

    def votes(self, cache: Cache, layer: int, valid_BNS: Tensor, index_BNS: Tensor) -> Tensor:
        """Attention of the observing tokens on every entry, summed, [B, N, S]."""
        observed = cache.observed
        assert observed is not None, "nobody observed the last pass"
        query = observed.queries[layer]
        keys = torch.cat(
            [b.turned(cache.rotary).expand(cache.rows, -1, -1, -1) for b in cache.layers[layer]], 2
        )
        rows, heads, queries, width = query.shape
        kv_heads = keys.shape[1]
        shared = heads // kv_heads
        grouped = query.reshape(rows, kv_heads, shared * queries, width)
        real_BR1 = observed.real_BQ.repeat(1, shared)[..., None]
        column_BR1 = (cache.fed - observed.tokens + observed.columns_BQ).repeat(1, shared)[..., None]
        votes = []
        for head in range(kv_heads):  # one by one, so that no tensor has heads x queries x entries
            h = min(head, valid_BNS.shape[1] - 1)
            seen_BRS = valid_BNS[:, h, None] & (
                index_BNS[:, min(head, index_BNS.shape[1] - 1), None] <= column_BR1
            )
            scores_BRS = (grouped[:, head] @ keys[:, head].mT).float() * width**-0.5
            weights_BRS = scores_BRS.masked_fill(~seen_BRS, torch.finfo(torch.float32).min).softmax(dim=-1)
            votes.append((weights_BRS * (real_BR1 & seen_BRS)).sum(dim=1))
        return torch.stack(votes, dim=1)

    def among_neighbours(self, votes_BNS: Tensor, valid_BNS: Tensor) -> Tensor:
        """Votes pooled over `kernel` entries."""
        if bool(valid_BNS.all()):
            return self.pooled(votes_BNS)
        # Neighbours are those that exist: the others stand behind them meanwhile.
        order_BNS = (~valid_BNS).expand_as(votes_BNS).to(torch.uint8).argsort(dim=-1, stable=True)
        pooled_BNS = self.pooled(votes_BNS.gather(-1, order_BNS))
        return torch.empty_like(votes_BNS).scatter(-1, order_BNS, pooled_BNS)

    def pooled(self, votes_BNS: Tensor) -> Tensor:
        """Votes and their neighbours'."""
        size = self.settings.kernel
        if self.settings.pooling == "max":
            return F.max_pool1d(votes_BNS, size, stride=1, padding=size // 2)
        return F.avg_pool1d(votes_BNS, size, stride=1, padding=size // 2)

    def best(self, votes_BNS: Tensor, valid_BNS: Tensor, sure_BNS: Tensor, room_B: Tensor) -> Tensor:
        """Which entries stay, bool [B, N, S]."""
        heads = votes_BNS.shape[1]
        sure_BNS, valid_BNS = sure_BNS.expand_as(votes_BNS), valid_BNS.expand_as(votes_BNS)
        votes_BNS = votes_BNS.masked_fill(~valid_BNS, -1.0).masked_fill(sure_BNS, torch.inf)
        own_BNS = ranks(votes_BNS)
        if not self.settings.adaptive:
            return valid_BNS & (own_BNS < room_B[:, None, None])
        free_B = room_B - sure_BNS[:, 0].sum(dim=-1)
        least_B = sure_BNS[:, 0].sum(dim=-1) + (free_B * self.settings.least).long()
        votes_BNS = votes_BNS.masked_fill(own_BNS < least_B[:, None, None], torch.inf)
        joint_BNS = ranks(votes_BNS.flatten(1)).view_as(votes_BNS)
        return valid_BNS & (joint_BNS < heads * room_B[:, None, None])


def ranks(scores: Tensor) -> Tensor:
    """Place of every score of the last axis in falling order, from 0; equal ones keep their order."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter(-1, order, places)
