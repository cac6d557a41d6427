"""CLIP (arXiv 2103.00020): the tower of Video-XL."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from vxl.vision.vit import Architecture, ViT, ViTConfig


@dataclass(frozen=True, kw_only=True)
class ClipConfig(ViTConfig):
    """CLIP: shortest edge to `size`, then a centre crop; raw output of the last block that is run."""

    _target_: str = "vxl.vision.clip.ClipTower"
    size: int = 336
    """Side of a frame in pixels, as the tower takes it."""
    width: int = 1024
    """Width of a patch's features."""
    mlp: int = 4096
    """Inner width of each block's MLP."""
    layers: int = 24
    """Blocks that are run; of ViT-L 24 give its last output (`select_layer` -1), 23 the one before (-2)."""
    keep_class: bool = False
    """Whether the class token stays, in front of the patches. No compressor takes it."""

    mean: ClassVar[tuple[float, float, float]] = (0.48145466, 0.4578275, 0.40821073)
    std: ClassVar[tuple[float, float, float]] = (0.26862954, 0.26130258, 0.27577711)
    resize: ClassVar[Literal["squash", "shortest_crop"]] = "shortest_crop"


class ClipTower(ViT):
    """CLIP's vision transformer, without the norm that CLIP puts behind its class token."""

    def __init__(self, config: ClipConfig) -> None:
        architecture = Architecture(
            activation="quick_gelu", eps=1e-5, class_token=True, patch_bias=False, pre_norm=True
        )
        super().__init__(config, architecture)
        self.keep_class = config.keep_class
        self.patches += config.keep_class

    def encode(self, pixels_FCHW: Tensor) -> Tensor:
        """patches_FPV, behind the class token if it is kept."""
        return self.hidden(pixels_FCHW) if self.keep_class else super().encode(pixels_FCHW)
