"""What SigLIP has beside the tower that a model runs: read from its checkpoint, or random."""

import logging
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.errors import CheckpointError
from vxl.vision.siglip import ImageEmbedding
from vxl.vision.siglip import SiglipConfig as TowerConfig
from vxl.vision.weights import load_exactly, read_tower

log = logging.getLogger(__name__)

KEY = "relevance.weights"


class TextTower:
    """SigLIP's text tower, and what cuts text into its tokens (None: bytes)."""

    def __init__(self, tower: Any, tokenizer: Any) -> None:
        self.tower = tower
        self.tokenizer = tokenizer

    def tokens_BT(self, texts: Sequence[str]) -> Tensor:
        """Each text filled up to as many tokens as SigLIP was trained with; what is longer is cut off."""
        most = self.tower.config.max_position_embeddings
        if self.tokenizer is None:
            rows = [[byte + 1 for byte in text.encode()[:most]] for text in texts]
            return torch.tensor([[*row, *[0] * (most - len(row))] for row in rows])
        settings = {"padding": "max_length", "max_length": most, "truncation": True}
        return torch.tensor(self.tokenizer(list(texts), **settings)["input_ids"])

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of length 1, (B, E). Padding is read, too, as in SigLIP's training."""
        tokens_BT = self.tokens_BT(texts).to(self.tower.device)
        return F.normalize(self.tower(input_ids=tokens_BT).pooler_output, dim=-1)


def load_image_head(tower: TowerConfig, source: str) -> ImageEmbedding:
    """What SigLIP has behind the tower.

    Raises:
        CheckpointError: The checkpoint is absent, or of another architecture than the tower.
    """
    if source == "random":
        log.warning("%s=random: chunks are as good as drawn at random.", KEY)
        with seeded("image"):
            return ImageEmbedding(tower, tower.layers + 1).eval()
    config = read_whole(source).vision_config
    ours = (tower.layers, tower.heads, "gelu_pytorch_tanh", True)
    theirs = (config.num_hidden_layers, config.num_attention_heads, config.hidden_act, config.vision_use_head)
    if theirs[0] < ours[0] or theirs[1:] != ours[1:]:
        raise CheckpointError(
            f"{KEY}={source} does not go on from the tower: blocks, heads, activation and pooling head are "
            f"{theirs}, the tower's {ours}.\n  expected: the SigLIP that the tower is of, vision.weights="
            f"{tower.weights}"
        )
    image = ImageEmbedding(tower, config.num_hidden_layers)
    load_exactly(image, read_tower(source, image.state_dict(), lambda name: (name,), KEY), source, KEY)
    return image.eval()


def load_words(tower: TowerConfig, source: str) -> TextTower:
    """SigLIP's text tower and tokenizer; of random weights a small one that reads bytes.

    Raises:
        CheckpointError: The checkpoint is absent, or lacks one of them.
    """
    # late: transformers takes a second
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
            return TextTower(SiglipTextModel(small).eval(), None)
    config = read_whole(source).text_config
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        result: Any = SiglipTextModel.from_pretrained(
            source, config=config, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{KEY}={source} has no text tower with a tokenizer: {reason}\n"
            "  expected: the whole SigLIP, such as google/siglip-so400m-patch14-384"
        ) from error
    model, report = result
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise CheckpointError(
            f"{KEY}={source} lacks {len(report['missing_keys'])} tensors of the text tower: {missing}, …\n"
            "  expected: the whole SigLIP, such as google/siglip-so400m-patch14-384"
        )
    return TextTower(model.eval(), tokenizer)


def read_whole(source: str) -> Any:
    """The config of a checkpoint of both towers, a `transformers.SiglipConfig`.

    Raises:
        CheckpointError: There is none, or it is of something else.
    """
    from transformers import AutoConfig, SiglipConfig  # late: transformers takes a second

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{KEY}={source} is no checkpoint: it has no config.json, neither on disk nor on the hub.\n"
            f"  a folder on disk:     {KEY}=PATH\n"
            f"  a name on the hub:    {KEY}=google/siglip-so400m-patch14-384  (needs the network once)\n"
            "  no other weights:     relevance=attention"
        ) from error
    if not isinstance(config, SiglipConfig):
        raise CheckpointError(
            f"{KEY}={source} holds a {config.model_type}.\n  expected: the whole SigLIP, text tower included"
        )
    return config


@contextmanager
def seeded(part: str) -> Generator[None]:
    """A block whose random weights are always the same."""
    with torch.random.fork_rng([]):
        torch.manual_seed(zlib.crc32(part.encode()))
        yield
