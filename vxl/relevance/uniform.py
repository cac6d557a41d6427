"""Chunks spread evenly over the video, whatever the question."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks
from vxl.relevance.base import QuestionPiece, Relevance, RelevanceConfig
from vxl.sequence.spread import BITS, reversed_bits


@dataclass(frozen=True, kw_only=True)
class UniformConfig(RelevanceConfig):
    """Chunks spread evenly over the video: a baseline that does not look at the question."""

    _target_: str = "vxl.relevance.uniform.Uniform"


class Uniform(Relevance):
    """Ranks chunks by bit reversal (van der Corput): the first k are spread evenly for any k."""

    def __init__(self, config: UniformConfig) -> None:
        super().__init__(config)

    @override
    def score(self, question: QuestionPiece, chunks: Chunks, cache: Cache) -> Tensor:
        chunk_C = torch.arange(chunks.count, device=chunks.chunk_BS.device)
        return (reversed_bits(chunk_C) / -(2**BITS)).expand(cache.rows, -1)
