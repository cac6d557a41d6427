"""The query-aware selector of Video-XL-Pro (arXiv 2503.18478), in both generations of its code.

A visual token's score is how well it agrees with the question. The best tokens stay, in their order, with
their score added to them and their place in the video written in by a rotation.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.option.option import refuse_below
from vxl.seeds import generator
from vxl.selector.attention import TimeToToken
from vxl.selector.base import Selected, Selector, SelectorConfig
from vxl.selector.rotary import rotate_neighbours
from vxl.sequence.layout import Kind

MULTIPLE = 16
PUBLISHED_KEEP = (0.7, 0.99)


@dataclass(frozen=True, kw_only=True)
class QueryConfig(SelectorConfig):
    """Keeps the visual tokens that agree best with the question."""

    _target_: str = "vxl.selector.query.Query"
    keep: float | None = 0.7
    """Fraction of the visual tokens that stays; null where `published_random_keep` draws it."""
    tokens: int | None = None
    """Budget: at most so many visual tokens stay; null for no limit but `keep`."""
    score: Literal["time", "token"] = "time"
    """What is compared with the question: each token by way of its group's time text (the code of April), or
    the token itself (the code of March; time text is then left as it is)."""
    heads: int = 4
    """Heads of the attention between tokens and time text (score=time)."""
    published_query: bool = False
    """Compare with all text of the conversation, as published: the system turn, and in training the answers
    too (they leak into the selection). Otherwise with what the user asks. On for imported weights."""
    published_multiple: bool = False
    """Keep a multiple of 16, as published. On for imported weights."""
    published_random_keep: bool = False
    """Draw the fraction from 0.7 to 0.99 at each forward pass, at inference too, as published; here by a
    seed, so that the same question has the same answer. On for imported weights."""

    def __post_init__(self) -> None:
        """The fraction is one and has one source, the budget is positive."""
        refuse_below(1, self, "heads")
        if self.published_random_keep and self.keep is not None:
            raise ConfigError(
                f"keep={self.keep} says what published_random_keep=true draws.\n"
                f"  always the same:  selector.published_random_keep=false selector.keep={self.keep}\n"
                "  as published:     selector.published_random_keep=true selector.keep=null"
            )
        if self.keep is None and not self.published_random_keep:
            raise ConfigError("keep=null keeps no known fraction.\n  e.g.  selector.keep=0.7")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(
                f"keep={self.keep} is no fraction.\n  allowed: above 0, up to 1\n  e.g.  keep=0.7"
            )
        if self.tokens is not None and self.tokens < 1:
            raise ConfigError(
                f"tokens={self.tokens} keeps nothing.\n  allowed: 1 or more, or null\n  e.g.  tokens=9600"
            )


class Query(Selector):
    """Scores by the question, keeps the best.

    Args:
        config: The settings.
        llm_width: D.
        seed: Of the published random fraction.

    Raises:
        ConfigError: The heads do not divide the width.
    """

    def __init__(self, config: QueryConfig, *, llm_width: int, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        self.whole_query = config.published_query
        self.text = nn.Linear(llm_width, llm_width)
        self.attention = TimeToToken(llm_width, config.heads) if config.score == "time" else None

    def select(
        self, shown_SD: Tensor, kind_S: Tensor, group_S: Tensor, query_QD: Tensor, draw: int = 0
    ) -> Selected:
        """See `Selector.select`. How many stay depends on the number of visual tokens alone."""
        is_visual_S = kind_S == Kind.VISUAL
        if self.attention is None:
            compared_ND, places_S = shown_SD[is_visual_S], is_visual_S.cumsum(0) - 1
        else:
            compared_ND = self.attention(shown_SD, kind_S, group_S)
            places_S = torch.arange(len(kind_S), device=kind_S.device)
        scores_N = self._scores(compared_ND, query_QD)
        rotated_SD = rotate_neighbours(shown_SD, places_S)
        if self.attention is None:
            rotated_SD = torch.where(is_visual_S[:, None], rotated_SD, shown_SD)
        added_S = scores_N.new_zeros(len(kind_S)).masked_scatter(is_visual_S, scores_N)
        best_N = scores_N.detach().argsort(descending=True, stable=True)  # ties: the earlier token
        dropped_N = torch.zeros_like(best_N, dtype=torch.bool)
        dropped_N[best_N[self.count(len(best_N), draw) :]] = True
        kept_S = ~torch.zeros_like(is_visual_S).masked_scatter(is_visual_S, dropped_N)
        return Selected(rotated_SD + added_S[:, None].to(shown_SD.dtype), kept_S, scores_N)

    def count(self, visual: int, draw: int = 0) -> int:
        """How many of `visual` tokens stay, at least one."""
        config, keep = self.config, self.config.keep
        if keep is None:
            keep = float(generator(self.seed, "keep", draw).uniform(*PUBLISHED_KEEP))
        count = min(max(1, int(visual * keep)), config.tokens or visual)
        return count - count % MULTIPLE if config.published_multiple and count >= MULTIPLE else count

    def _scores(self, compared_ND: Tensor, query_QD: Tensor) -> Tensor:
        """Agreement with the query's mean, stretched to 0 to 1 over the document; in float32 at least."""
        query_D = F.gelu(self.text(query_QD)).mean(dim=0)
        precise = torch.promote_types(compared_ND.dtype, torch.float32)
        scores_N = compared_ND.to(precise) @ query_D.to(precise)
        low, high = scores_N.min(), scores_N.max()
        return (scores_N - low) / (high - low).clamp(min=torch.finfo(precise).tiny)
