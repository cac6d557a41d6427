"""Entries stay that the last token attends to."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from typing_extensions import override

from vxl.kv.scored.attention import attention, observed_columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored


@dataclass(frozen=True, kw_only=True)
class TOVAConfig(ScoredConfig):
    """The entries stay that the last token attends to most, all heads of a layer together."""

    _target_: str = "vxl.kv.tova.TOVA"
    at: Literal["chunks", "question"] = "chunks"
    """When: after each piece of the prefill, by its last token (of a video, a visual one); or at the
    question, by the question's last token. As published: chunks, with decode_every=1."""


class TOVA(Scored):
    """Score: mean over all query heads of the attention of the last token; one set for all heads of a layer.

    TOVA (arXiv 2401.06104, section 4; schwartz-lab-NLP/TOVA, src/tova_cache.py). The last token is sure, as
    in kvpress; the authors' code may evict it.
    """

    observers = 1
    per_head = False
    together = True

    def __init__(self, config: TOVAConfig) -> None:
        super().__init__(config)

    @override
    def score(self, entries: Entries) -> Tensor:
        return attention(entries, last=1).mean(dim=(1, 2))[:, None]

    @override
    def sure(self, entries: Entries) -> Tensor:
        """The observer."""
        column_BQ, _ = observed_columns(entries.cache)
        return entries.index_BNS == column_BQ[:, None, -1:]
