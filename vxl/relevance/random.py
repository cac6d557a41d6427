"""Chunks drawn at random."""

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks
from vxl.relevance.base import QuestionPiece, Relevance, RelevanceConfig


@dataclass(frozen=True, kw_only=True)
class RandomConfig(RelevanceConfig):
    """Chunks drawn at random, others for every question: a baseline."""

    _target_: str = "vxl.relevance.random.Random"
    seed: int = 0
    """Of the draws; the same question about as long a video always draws the same."""


class Random(Relevance):
    """Draws a score for every chunk."""

    def __init__(self, config: RandomConfig) -> None:
        super().__init__(config)
        self.seed = config.seed

    @override
    def score(self, question: QuestionPiece, chunks: Chunks, cache: Cache) -> Tensor:
        rows = []
        for tokens in question.tokens:
            seed = zlib.crc32(repr((self.seed, tokens)).encode())
            rows.append(torch.rand(chunks.count, generator=torch.Generator().manual_seed(seed)))
        return torch.stack(rows).to(chunks.chunk_BS.device)
