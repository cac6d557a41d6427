"""Every chunk matters."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks
from vxl.relevance.base import QuestionPiece, Relevance, RelevanceConfig


@dataclass(frozen=True, kw_only=True)
class AllConfig(RelevanceConfig):
    """Every chunk stays in full, whatever the budget."""

    _target_: str = "vxl.relevance.all.All"


class All(Relevance):
    """Every chunk matters."""

    def __init__(self, config: AllConfig) -> None:
        super().__init__(config)

    @override
    def score(self, question: QuestionPiece, chunks: Chunks, cache: Cache) -> Tensor:
        return torch.full((cache.rows, chunks.count), torch.inf, device=chunks.chunk_BS.device)
