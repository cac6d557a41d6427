"""SigLIP (arXiv 2303.15343): the tower of Video-XL-Pro and Video-XL-2, without its last block and norm."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vxl.vision.vit import MLP, Architecture, TowerBlock, ViT, ViTConfig, initialise

ARCHITECTURE = Architecture(activation="gelu_tanh", eps=1e-6)


@dataclass(frozen=True, kw_only=True)
class SiglipConfig(ViTConfig):
    """SigLIP: no class token, frames squashed to a square; raw output of the last block that is run."""

    _target_: str = "vxl.vision.siglip.Siglip"


class Siglip(ViT):
    """SigLIP's vision transformer."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__(config, ARCHITECTURE)


class ImageEmbedding(nn.Module):
    """What is left of SigLIP behind the tower: the blocks it does not run, the norm, attention pooling.

    Parameters have SigLIP's names.

    Args:
        config: The tower's.
        layers: Blocks of the whole SigLIP.
    """

    def __init__(self, config: ViTConfig, layers: int) -> None:
        super().__init__()
        blocks = {str(number): TowerBlock(config, ARCHITECTURE) for number in range(config.layers, layers)}
        self.encoder = nn.ModuleDict({"layers": nn.ModuleDict(blocks)})
        self.post_layernorm = nn.LayerNorm(config.width, ARCHITECTURE.eps)
        self.head = AttentionPooling(config)
        self.apply(initialise)

    def forward(self, patches_FPV: Tensor) -> Tensor:
        """SigLIP's embedding of each frame, (F, V), of the tower's output."""
        for block in self.encoder["layers"].children():
            patches_FPV = block(patches_FPV)
        return self.head(self.post_layernorm(patches_FPV))


class AttentionPooling(nn.Module):
    """A learned query that attends to a frame's patches, then an MLP."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, config.width))
        self.attention = nn.MultiheadAttention(config.width, config.heads, batch_first=True)
        self.layernorm = nn.LayerNorm(config.width, ARCHITECTURE.eps)
        self.mlp = MLP(config.width, config.mlp, ARCHITECTURE.activation)

    def forward(self, patches_FPV: Tensor) -> Tensor:
        """One vector a frame, (F, V)."""
        probe = self.probe.expand(len(patches_FPV), -1, -1)
        pooled = self.attention(probe, patches_FPV, patches_FPV, need_weights=False)[0]
        return (pooled + self.mlp(self.layernorm(pooled)))[:, 0]
