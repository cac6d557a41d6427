"""Pooling: k x k projected patches, of several frames if wanted, become one token (Video-XL: 2 x 2)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vxl.compressor.base import Compressor, CompressorConfig
from vxl.compressor.plan import CompressorPlan
from vxl.compressor.ratio import resolve

How = Literal["mean", "max"]


@dataclass(frozen=True, kw_only=True)
class PoolConfig(CompressorConfig):
    """Mean or maximum over k x k patches behind the projector; single frames if the ratio is a square."""

    _target_: str = "vxl.compressor.pool.Pool"
    ratio: int = 4
    """Patches of the compressor's grid in / visual tokens into the language model."""
    pool: How = "mean"
    """How the projected patches of a square become one."""


class Pool(Compressor):
    """Projects every patch, then pools: nothing is learned but the projector."""

    def __init__(self, config: PoolConfig, *, vision_width: int, grid: int, llm_width: int) -> None:
        super().__init__(config, vision_width=vision_width, grid=grid, llm_width=llm_width)
        self.how: How = config.pool

    @classmethod
    def plan(cls, config: CompressorConfig, grid: int) -> CompressorPlan:
        """k x k of one frame where the ratio is a square, else of 2, 4 or 8 frames."""
        strides = (1, 2, 4, 8) if config.temporal is None else (config.temporal,)
        return resolve(config, grid, strides)

    def compress(self, patches_GFPV: Tensor) -> Tensor:
        """Projector, then the mean or maximum over the group's frames and each square."""
        return pool_squares(self.projector(patches_GFPV), self.shape.spatial, self.how)


def pool_squares(tokens_GFPD: Tensor, spatial: int, how: How) -> Tensor:
    """tokens_GKD: each `spatial` x `spatial` square of the grid, over all F frames, as one token."""
    side = round(tokens_GFPD.shape[2] ** 0.5)
    rows = side // spatial
    squares = tokens_GFPD.unflatten(2, (rows, spatial, rows, spatial))  # G F row k column k D
    pooled = squares.mean((1, 3, 5)) if how == "mean" else squares.amax((1, 3, 5))
    return pooled.flatten(1, 2)
