"""Chunks spread evenly over the video, whatever the question."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks
from vxl.relevance.base import Question, Relevance, RelevanceConfig


@dataclass(frozen=True, kw_only=True)
class UniformConfig(RelevanceConfig):
    """Chunks spread evenly over the video: a baseline that does not look at the question."""

    _target_: str = "vxl.relevance.uniform.Uniform"


class Uniform(Relevance):
    """Ranks chunks by bit reversal (van der Corput): the first k are spread evenly for any k."""

    def __init__(self, config: UniformConfig) -> None:
        super().__init__(config)

    @override
    def score(self, question: Question, chunks: Chunks, cache: Cache) -> Tensor:
        scores_C = torch.tensor([-reversed_bits(chunk) for chunk in range(chunks.count)])
        return scores_C.to(chunks.chunk_BS.device).expand(cache.rows, -1)


def reversed_bits(number: int) -> float:
    """The binary digits of a whole number behind the point, in reverse: 1 -> 0.1b, 2 -> 0.01b, 3 -> 0.11b."""
    value, weight = 0.0, 0.5
    while number:
        value += weight * (number & 1)
        number >>= 1
        weight /= 2
    return value
