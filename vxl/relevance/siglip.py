"""How alike SigLIP finds a chunk's frames and the question.

The tower has run in any case: while a video is watched, the few weights that SigLIP has behind it make one
embedding of each frame, which the context keeps. A question goes through SigLIP's own text tower when it
comes. A tower that was trained on has moved away from these weights; embeddings follow it as far as that
goes.

Letters: E width of an embedding.
"""

import logging
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.errors import CheckpointError, ConfigError, DataError
from vxl.relevance.base import Chunks, Question, Relevance, RelevanceConfig
from vxl.vision.siglip import ImageEmbedding
from vxl.vision.siglip import SiglipConfig as TowerConfig
from vxl.vision.weights import load_exactly, read_tower

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from vxl.llm.cache import Cache
    from vxl.vision.base import VisionConfig, VisionEncoder

log = logging.getLogger(__name__)

KEY = "relevance.weights"
LOADING = RLock()


@dataclass(frozen=True, kw_only=True)
class SiglipConfig(RelevanceConfig):
    """How alike SigLIP finds a chunk's frames and the question: the cosine of their embeddings."""

    _target_: str = "vxl.relevance.siglip.Siglip"
    weights: str | None = None
    """Checkpoint of the whole SigLIP, both towers and tokenizer: a hub name or a folder; `random`; null: the
    one that the tower comes from, `vision.weights`."""
    pool: Literal["max", "mean"] = "max"
    """A chunk's score out of its frames': of the frame that fits best, or their mean."""


class Siglip(Relevance):
    """Keeps an embedding of each frame, and compares them with the question's.

    Weights are read when they are first needed: a training needs none of them. They are no part of the
    model, so no checkpoint holds them.
    """

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__(config)
        self.settings = config
        self.tower: TowerConfig | None = None
        self.image: ImageEmbedding | None = None
        self.words: Words | None = None

    def equip(self, vision: "VisionEncoder") -> None:
        """See `Relevance.equip`.

        Raises:
            ConfigError: The tower is none of SigLIP's.
        """
        self.tower = needs_siglip(vision.config)

    @property
    def weights(self) -> str:
        """The checkpoint, or `random`."""
        assert self.tower is not None, "equip comes first"
        return self.settings.weights or self.tower.weights

    @property
    def sees(self) -> str:
        """See `Relevance.sees`."""
        return f"relevance=siglip {KEY}={self.weights}"

    def see(self, patches_FPV: Tensor) -> Tensor:
        """See `Relevance.see`: embeddings of length 1.

        Raises:
            CheckpointError: The checkpoint is absent, or does not fit the tower.
        """
        assert self.tower is not None
        with LOADING:
            if self.image is None:
                self.image = load_image(self.tower, self.weights)
            image = self.image = self.image.to(patches_FPV.device, patches_FPV.dtype)
        with torch.no_grad():
            parts = [image(part_FPV) for part_FPV in patches_FPV.split(self.tower.slice)]
        return F.normalize(torch.cat(parts), dim=-1)

    def score(self, question: Question, chunks: Chunks, cache: "Cache") -> Tensor:
        """See `Relevance.score`: cosines, from -1 to 1.

        Raises:
            DataError: The question has no text, or the context was watched with other relevance.
        """
        assert self.tower is not None
        seen = question.seen
        if seen is None or seen.by != self.sees:
            raise DataError(
                f"{self.sees} has not seen these frames; they were watched with "
                f"{seen.by if seen else 'another relevance'}.\n  watch the video again"
            )
        if question.texts is None:
            raise DataError("relevance=siglip reads a question's text.\n  give ask and ask_all texts=[...]")
        device, count = question.embeds_BTD.device, len(chunks.of_group_G)
        with LOADING:
            if self.words is None:
                self.words = load_words(self.tower, self.weights)
            words = self.words
            words.tower.to(device, seen.frames_GFE.dtype)
        text_BE = words(question.texts).float()
        cosine_BGF = torch.einsum("be,gfe->bgf", text_BE, seen.frames_GFE[:count].to(device).float())
        best = self.settings.pool == "max"
        group_BG = cosine_BGF.amax(dim=-1) if best else cosine_BGF.mean(dim=-1)
        scores_BC = group_BG.new_zeros(len(text_BE), chunks.count)
        of_group_BG = chunks.of_group_G.expand_as(group_BG)
        return scores_BC.scatter_reduce(
            1, of_group_BG, group_BG, "amax" if best else "mean", include_self=False
        )


class Words:
    """SigLIP's text tower, and what cuts text into its tokens (None: bytes)."""

    def __init__(self, tower: Any, tokenizer: Any) -> None:
        self.tower = tower
        self.tokenizer = tokenizer

    def tokens_BT(self, texts: "Sequence[str]") -> Tensor:
        """Each text filled up to as many tokens as SigLIP was trained with; what is longer is cut off."""
        most = self.tower.config.max_position_embeddings
        if self.tokenizer is None:
            rows = [[byte + 1 for byte in text.encode()[:most]] for text in texts]
            return torch.tensor([[*row, *[0] * (most - len(row))] for row in rows])
        settings = {"padding": "max_length", "max_length": most, "truncation": True}
        return torch.tensor(self.tokenizer(list(texts), **settings)["input_ids"])

    @torch.no_grad()
    def __call__(self, texts: "Sequence[str]") -> Tensor:
        """Embeddings of length 1, (B, E). Padding is read, too, as in SigLIP's training."""
        tokens_BT = self.tokens_BT(texts).to(self.tower.device)
        return F.normalize(self.tower(input_ids=tokens_BT).pooler_output, dim=-1)


def needs_siglip(vision: "VisionConfig") -> TowerConfig:
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


def load_image(tower: TowerConfig, source: str) -> ImageEmbedding:
    """What SigLIP has behind the tower.

    Raises:
        CheckpointError: The checkpoint is absent, or of another architecture than the tower.
    """
    if source == "random":
        log.warning("%s=random: chunks are as good as drawn at random.", KEY)
        with seeded("image"):
            return ImageEmbedding(tower, tower.layers + 1).eval()
    known = read_whole(source).vision_config
    ours = (tower.layers, tower.heads, "gelu_pytorch_tanh", True)
    theirs = (known.num_hidden_layers, known.num_attention_heads, known.hidden_act, known.vision_use_head)
    if theirs[0] < ours[0] or theirs[1:] != ours[1:]:
        raise CheckpointError(
            f"{KEY}={source} does not go on from the tower: blocks, heads, activation and pooling head are "
            f"{theirs}, the tower's {ours}.\n  expected: the SigLIP that the tower is of, vision.weights="
            f"{tower.weights}"
        )
    image = ImageEmbedding(tower, known.num_hidden_layers)
    load_exactly(image, read_tower(source, image.state_dict(), lambda name: (name,), KEY), source, KEY)
    return image.eval()


def load_words(tower: TowerConfig, source: str) -> Words:
    """SigLIP's text tower and tokenizer; of random weights a small one that reads bytes.

    Raises:
        CheckpointError: The checkpoint is absent, or lacks one of them.
    """
    from transformers import AutoTokenizer, SiglipTextConfig, SiglipTextModel

    if source == "random":
        small = SiglipTextConfig(
            vocab_size=257,
            hidden_size=tower.width,
            intermediate_size=tower.mlp,
            num_hidden_layers=2,
            num_attention_heads=tower.heads,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
        with seeded("text"):
            return Words(SiglipTextModel(small).eval(), None)
    config = read_whole(source).text_config
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        loaded: Any = SiglipTextModel.from_pretrained(
            source, config=config, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{KEY}={source} has no text tower with a tokenizer: {reason}\n"
            "  expected: the whole SigLIP, such as google/siglip-so400m-patch14-384"
        ) from error
    model, report = loaded
    if report["missing_keys"]:
        listed = ", ".join(sorted(report["missing_keys"])[:3])
        raise CheckpointError(
            f"{KEY}={source} lacks {len(report['missing_keys'])} tensors of the text tower: {listed}, …\n"
            "  expected: the whole SigLIP, such as google/siglip-so400m-patch14-384"
        )
    return Words(model.eval(), tokenizer)


def read_whole(source: str) -> Any:
    """The config of a checkpoint of both towers, a `transformers.SiglipConfig`.

    Raises:
        CheckpointError: There is none, or it is of something else.
    """
    from transformers import AutoConfig, SiglipConfig

    try:
        found = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{KEY}={source} is no checkpoint: it has no config.json, neither on disk nor on the hub.\n"
            f"  a folder on disk:     {KEY}=PATH\n"
            f"  a name on the hub:    {KEY}=google/siglip-so400m-patch14-384  (needs the network once)\n"
            "  no other weights:     relevance=attention"
        ) from error
    if not isinstance(found, SiglipConfig):
        raise CheckpointError(
            f"{KEY}={source} holds a {found.model_type}.\n  expected: the whole SigLIP, text tower included"
        )
    return found


@contextmanager
def seeded(part: str) -> "Generator[None]":
    """A block whose random weights are always the same."""
    with torch.random.fork_rng([]):
        torch.manual_seed(zlib.crc32(part.encode()))
        yield
