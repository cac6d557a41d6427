"""SigLIP (arXiv 2303.15343): the tower of Video-XL-Pro and Video-XL-2, without its last block and norm."""

from dataclasses import dataclass

from vxl.vision.vit import Architecture, ViT, ViTConfig


@dataclass(frozen=True, kw_only=True)
class SiglipConfig(ViTConfig):
    """SigLIP: no class token, frames squashed to a square; raw output of the last block that is run."""

    _target_: str = "vxl.vision.siglip.Siglip"


class Siglip(ViT):
    """SigLIP's vision transformer."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__(config, Architecture(activation="gelu_tanh", eps=1e-6))
