"""Which chunks of a video matter to a question: the contract of `relevance=`.

A policy that keeps some chunks in full and others in short (`kv=bilevel`) asks for the chunks' scores when a
question comes, before the question is read.

Letters: C chunks · S entries of a cache.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks
from vxl.llm.decoder import Decoder
from vxl.option.option import Option
from vxl.sequence.piece import Piece
from vxl.vision.base import VisionEncoder


@dataclass(frozen=True, kw_only=True)
class RelevanceConfig(Option):
    """Which chunks of a video matter to a question."""


@dataclass(frozen=True, eq=False)
class FrameVectors:
    """What a kind of relevance kept of every frame while it was watched."""

    by: str
    """Which kind, and of which weights: no other can read it."""
    frames_GFE: Tensor
    """A vector a frame of each group, counted through all visuals."""

    def bytes(self) -> int:
        """Memory that it holds."""
        return self.frames_GFE.nbytes


@dataclass(frozen=True, eq=False, kw_only=True)
class QuestionPiece(Piece):
    """Questions on their way into the model, a row each."""

    llm: Decoder
    relevance: "Relevance"
    tokens: tuple[tuple[int, ...], ...]
    """Each row's tokens."""
    texts: tuple[str, ...] | None = None
    """Each row's question as it was asked, where the asker said."""
    names: tuple[str, ...] = ()
    """What the watched visuals are called, as far as the watcher said."""
    seen: FrameVectors | None = None
    """What `Relevance.see` kept of the frames."""

    @property
    def tokens_B(self) -> Tensor:
        """How many tokens each row's question has."""
        return torch.tensor([len(tokens) for tokens in self.tokens], device=self.embeds_BTD.device)


class Relevance(ABC):
    """Scores chunks. `inf` makes sure of a chunk whatever the budget, `-inf` rules it out."""

    def __init__(self, config: RelevanceConfig) -> None:
        self.config = config

    def equip(self, vision: VisionEncoder) -> None:
        """Called once with the model's vision tower; raises ConfigError where it does not do."""
        return

    def see(self, patches_FPV: Tensor) -> Tensor | None:
        """What to keep of each watched frame for later questions, (F, E); None: nothing.

        Args:
            patches_FPV: The tower's output of whole groups.
        """
        return None

    @property
    def sees(self) -> str:
        """What `see` keeps, in words that tell it from what others keep."""
        return type(self).__name__

    @abstractmethod
    def score(self, question: QuestionPiece, chunks: Chunks, cache: Cache) -> Tensor:
        """Scores of every chunk for every row, float [B, C]: the higher, the more it matters.

        Args:
            question: What is asked.
            chunks: The chunks of the cache's entries.
            cache: What was watched; it must not be changed.
        """
