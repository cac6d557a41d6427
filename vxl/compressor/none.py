"""No compression: every patch of every frame becomes a visual token."""

from dataclasses import dataclass

from torch import Tensor

from vxl.compressor.base import Compressor, CompressorConfig
from vxl.compressor.plan import CompressorPlan
from vxl.compressor.ratio import resolve
from vxl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class UncompressedConfig(CompressorConfig):
    """Only the projector: the upper bound in tokens that the others are measured against."""

    _target_: str = "vxl.compressor.none.Uncompressed"
    ratio: int = 1
    """Always 1."""


class Uncompressed(Compressor):
    """The projector alone."""

    def __init__(self, config: UncompressedConfig, *, vision_width: int, grid: int, llm_width: int) -> None:
        super().__init__(config, vision_width=vision_width, grid=grid, llm_width=llm_width)

    @classmethod
    def plan(cls, config: CompressorConfig, grid: int) -> CompressorPlan:
        """One frame a group, one token a patch."""
        if config.ratio != 1:
            raise ConfigError(
                f"compressor.ratio={config.ratio}, but compressor=none keeps every patch.\n"
                "  allowed: 1\n  e.g.  compressor=none compressor.ratio=1  or  compressor=pool "
                f"compressor.ratio={config.ratio}"
            )
        return resolve(config, grid, strides=(1,))

    def compress(self, patches_GFPV: Tensor) -> Tensor:
        """Projects; a group is one frame."""
        return self.projector(patches_GFPV.squeeze(1))
