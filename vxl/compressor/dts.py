"""Dynamic Token Synthesis: groups of frames become one by attention and convolution (Video-XL-Pro, -2).

Video-XL-Pro (arXiv 2503.18478) introduces it; Video-XL-2 (arXiv 2506.19225) uses the same network.
"""

from dataclasses import dataclass

from torch import Tensor

from vxl.compressor.base import Compressor, CompressorConfig
from vxl.compressor.plan import CompressorPlan
from vxl.compressor.pool import How, pool_squares
from vxl.compressor.ratio import resolve
from vxl.compressor.synthesis import Synthesis


@dataclass(frozen=True, kw_only=True)
class DTSConfig(CompressorConfig):
    """Dynamic Token Synthesis of 2, 4 or 8 frames, the projector, then k x k pooling."""

    _target_: str = "vxl.compressor.dts.DTS"
    pool: How = "mean"
    """How the projected patches of a square become one."""
    published_layout: bool = False
    """Group frames as the published weights were trained: the memory of a group's frames read as channels x
    time instead of time x channels, which mixes both. On for imported weights."""
    published_relative_key: bool = False
    """Take the relative term of the temporal attention from the query at the key's frame, as the published
    weights were trained, and not from the query at its own. On for imported weights."""


class DTS(Compressor):
    """Synthesis of each group into one frame of tokens, projector, pooling."""

    def __init__(self, config: DTSConfig, *, vision_width: int, grid: int, llm_width: int) -> None:
        super().__init__(config, vision_width=vision_width, grid=grid, llm_width=llm_width)
        self.how: How = config.pool
        self.published_layout = config.published_layout
        self.dts = Synthesis(
            vision_width,
            frames=self.frames_per_group,
            side=self.shape.grid,
            transposed_key=config.published_relative_key,
        )

    @classmethod
    def plan(cls, config: CompressorConfig, grid: int) -> CompressorPlan:
        """4 frames become one where the ratio allows it, else 8, 2 or 1."""
        return resolve(config, grid, strides=(4, 8, 2, 1))

    def compress(self, patches_GFPV: Tensor) -> Tensor:
        """Synthesis, projector, pooling: in this order in the published code (the paper pools first)."""
        synthesised_GPV = self.synthesise(patches_GFPV)
        return pool_squares(self.projector(synthesised_GPV).unsqueeze(1), self.shape.spatial, self.how)

    def synthesise(self, patches_GFPV: Tensor) -> Tensor:
        """synthesised_GPV: each group as one frame, of the tower's width."""
        return self.dts(memory_view(patches_GFPV) if self.published_layout else patches_GFPV)


def memory_view(patches_GFPV: Tensor) -> Tensor:
    """The published grouping: a group's frames x channels, counted through, read as channels x time.

    With n = frame * V + channel, plane n becomes channel n // F at time n % F. So the first V / F "channels"
    all come from the first frame, and "time" counts neighbouring channels.
    """
    frames, width = patches_GFPV.shape[1], patches_GFPV.shape[3]
    planes_GPN = patches_GFPV.transpose(1, 2).flatten(2)
    return planes_GPN.unflatten(2, (width, frames)).permute(0, 3, 1, 2)


def frames_of_memory_view(viewed_GFPV: Tensor) -> Tensor:
    """The frames that `memory_view` made this of."""
    frames, width = viewed_GFPV.shape[1], viewed_GFPV.shape[3]
    planes_GPN = viewed_GFPV.permute(0, 2, 3, 1).flatten(2)
    return planes_GPN.unflatten(2, (frames, width)).transpose(1, 2)
