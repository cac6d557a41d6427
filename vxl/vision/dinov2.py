"""DINOv2 (arXiv 2304.07193), with or without registers: a self-supervised tower, down to 22 M parameters."""

import re
from dataclasses import dataclass
from typing import ClassVar

from vxl.errors import ConfigError
from vxl.vision.vit import Architecture, ViT, ViTConfig

# What a parameter of ours is called in published checkpoints; transformers renamed some on the way.
_NAMES = (
    ("embeddings.patch_embedding", ("embeddings.patch_embeddings.projection",)),
    ("embeddings.position_embedding.weight", ("embeddings.position_embeddings",)),
    ("embeddings.class_embedding", ("embeddings.cls_token",)),
    ("post_layernorm", ("layernorm",)),
    ("layer_norm1", ("norm1",)),
    ("layer_norm2", ("norm2",)),
    ("self_attn.q_proj", ("attention.attention.query", "attention.q_proj")),
    ("self_attn.k_proj", ("attention.attention.key", "attention.k_proj")),
    ("self_attn.v_proj", ("attention.attention.value", "attention.v_proj")),
    ("self_attn.out_proj", ("attention.output.dense", "attention.o_proj")),
)


@dataclass(frozen=True, kw_only=True)
class Dinov2Config(ViTConfig):
    """DINOv2 with its final norm, without class token and registers. Frames are squashed: a crop would
    lose the sides of a wide video."""

    _target_: str = "vxl.vision.dinov2.Dinov2"
    size: int = 224
    """Side of a frame in pixels; the checkpoint's positions are resized to its grid."""
    width: int = 384
    """Width of a patch's features."""
    mlp: int = 1536
    """Inner width of each block's MLP."""
    heads: int = 6
    """Attention heads of each block."""
    layers: int = 12
    """Blocks that are run: the output of this many of the checkpoint's blocks; later ones are not built."""
    registers: int = 0
    """Register tokens: 4 in the checkpoints `dinov2-with-registers`, else 0."""

    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        """Registers are counted from 0."""
        super().__post_init__()
        if self.registers < 0:
            raise ConfigError(f"registers={self.registers} is negative.\n  allowed: 0 or 4")


class Dinov2(ViT):
    """DINOv2's vision transformer (S, B and L; the giant's gated MLP is not built)."""

    def __init__(self, config: Dinov2Config) -> None:
        architecture = Architecture(
            activation="gelu",
            eps=1e-6,
            class_token=True,
            registers=config.registers,
            post_norm=True,
            layer_scale=True,
        )
        super().__init__(config, architecture)

    @staticmethod
    def published_name(name: str) -> tuple[str, ...]:
        """The names that a parameter of ours may have in a published checkpoint."""
        name = re.sub(r"^encoder\.layers\.", "encoder.layer.", name)
        for ours, theirs in _NAMES:
            if ours in name:
                return tuple(name.replace(ours, published) for published in theirs)
        return (name,)
