"""How alike SigLIP finds a chunk's frames and the question.

The tower has run in any case: while a video is watched, the few weights that SigLIP has behind it make one
embedding of each frame, which the context keeps. A question goes through SigLIP's own text tower when it
comes. A tower that was trained on has moved away from these weights; embeddings follow it as far as that
goes.

Letters: E width of an embedding.
"""

from dataclasses import dataclass
from threading import RLock
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError, DataError
from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks
from vxl.relevance.base import QuestionPiece, Relevance, RelevanceConfig
from vxl.relevance.siglip_weights import KEY, TextTower, load_image_head, load_words
from vxl.vision.base import VisionConfig, VisionEncoder
from vxl.vision.siglip import ImageEmbedding
from vxl.vision.siglip import SiglipConfig as TowerConfig

LOADING = RLock()


@dataclass(frozen=True, kw_only=True)
class SiglipRelevanceConfig(RelevanceConfig):
    """How alike SigLIP finds a chunk's frames and the question: the cosine of their embeddings."""

    _target_: str = "vxl.relevance.siglip.SiglipRelevance"
    weights: str | None = None
    """Checkpoint of the whole SigLIP, both towers and tokenizer: a hub name or a folder; `random`; null: the
    one that the tower comes from, `vision.weights`."""
    pool: Literal["max", "mean"] = "max"
    """A chunk's score out of its frames': of the frame that fits best, or their mean."""


class SiglipRelevance(Relevance):
    """Keeps an embedding of each frame, and compares them with the question's.

    Weights are read when they are first needed: a training needs none of them. They are no part of the
    model, so no checkpoint holds them.
    """

    config: SiglipRelevanceConfig

    def __init__(self, config: SiglipRelevanceConfig) -> None:
        super().__init__(config)
        self.tower: TowerConfig | None = None
        self.image: ImageEmbedding | None = None
        self.words: TextTower | None = None

    def equip(self, vision: VisionEncoder) -> None:
        """See `Relevance.equip`.

        Raises:
            ConfigError: The tower is none of SigLIP's.
        """
        self.tower = needs_siglip(vision.config)

    @property
    def weights(self) -> str:
        """The checkpoint, or `random`."""
        assert self.tower is not None, "equip comes first"
        return self.config.weights or self.tower.weights

    @property
    @override
    def sees(self) -> str:
        return f"relevance=siglip {KEY}={self.weights}"

    def see(self, patches_FPV: Tensor) -> Tensor:
        """See `Relevance.see`: embeddings of length 1.

        Raises:
            CheckpointError: The checkpoint is absent, or does not fit the tower.
        """
        assert self.tower is not None
        with LOADING:
            if self.image is None:
                self.image = load_image_head(self.tower, self.weights)
            image = self.image = self.image.to(patches_FPV.device, patches_FPV.dtype)
        with torch.no_grad():
            parts = [image(part_FPV) for part_FPV in patches_FPV.split(self.tower.slice)]
        return F.normalize(torch.cat(parts), dim=-1)

    def score(self, question: QuestionPiece, chunks: Chunks, cache: Cache) -> Tensor:
        """See `Relevance.score`: cosines, from -1 to 1.

        Raises:
            DataError: The question has no text, or the context was watched with other relevance.
        """
        assert self.tower is not None
        vectors = question.seen
        if vectors is None or vectors.by != self.sees:
            raise DataError(
                f"{self.sees} has not seen these frames; they were watched with "
                f"{vectors.by if vectors else 'another relevance'}.\n  watch the video again"
            )
        if question.texts is None:
            raise DataError("relevance=siglip reads a question's text.\n  give ask and ask_all texts=[...]")
        device, count = question.embeds_BTD.device, len(chunks.of_group_G)
        with LOADING:
            if self.words is None:
                self.words = load_words(self.tower, self.weights)
            words = self.words
            words.tower.to(device, vectors.frames_GFE.dtype)
        text_BE = words(question.texts).float()
        cosine_BGF = torch.einsum("be,gfe->bgf", text_BE, vectors.frames_GFE[:count].to(device).float())
        best = self.config.pool == "max"
        group_BG = cosine_BGF.amax(dim=-1) if best else cosine_BGF.mean(dim=-1)
        scores_BC = group_BG.new_zeros(len(text_BE), chunks.count)
        of_group_BG = chunks.of_group_G.expand_as(group_BG)
        return scores_BC.scatter_reduce(
            1, of_group_BG, group_BG, "amax" if best else "mean", include_self=False
        )


def needs_siglip(vision: VisionConfig) -> TowerConfig:
    """The tower's config.

    Raises:
        ConfigError: It is another tower.
    """
    if not isinstance(vision, TowerConfig):
        raise ConfigError(
            f"relevance=siglip goes on from the output of SigLIP's tower; vision is {vision._target_}.\n"
            "  allowed: vision=siglip_so400m, vision=tiny\n"
            "  e.g.  relevance=attention  (any tower)"
        )
    return vision
