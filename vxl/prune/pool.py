"""Means over squares of a group's grid: the baseline that any method of merging must beat.

Of each side x side square of the grid's places the first stays, with the mean of the square in it: K /
side^2 tokens a group. `compressor=pool` does the same before anything is trained on it; here it is a change
at evaluation.
"""

import math
from dataclasses import dataclass

import torch

from vxl.errors import ConfigError
from vxl.prune.base import PruneConfig, Pruned, StreamingPruner, VideoTokens


@dataclass(frozen=True, kw_only=True)
class PoolPruneConfig(PruneConfig):
    """Every square of places becomes its mean."""

    _target_: str = "vxl.prune.pool.Pool"
    side: int = 2
    """Places of a square's side; it divides the grid's. 1 keeps all."""

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ConfigError(
                f"prune.side={self.side} is no square.\n  allowed: 1 or more\n  e.g.  prune.side=2"
            )


class Pool(StreamingPruner):
    """Means over squares."""

    def __init__(self, config: PoolPruneConfig) -> None:
        super().__init__(config)
        self.side = config.side

    @property
    def keep(self) -> float:
        """See `Pruner.keep`."""
        return 1 / self.side**2

    def prune_piece(self, piece: VideoTokens, before: VideoTokens | None, done: int, groups: int) -> Pruned:
        """See `StreamingPruner.prune_piece`."""
        visual_GKD = piece.visual_GKD
        side, grid = self.side, self.grid(visual_GKD.shape[1])
        parts = visual_GKD.unflatten(1, (grid // side, side, grid // side, side))
        means = parts.mean(dim=(2, 4), keepdim=True).expand_as(parts).reshape(visual_GKD.shape)
        place_K = torch.arange(grid * grid, device=visual_GKD.device)
        kept_K = (place_K // grid % side == 0) & (place_K % grid % side == 0)
        return Pruned(kept_K.expand(visual_GKD.shape[:2]).clone(), means)

    def count(self, groups: int, tokens: int) -> int:
        """See `Pruner.count`."""
        return groups * (self.grid(tokens) // self.side) ** 2

    def grid(self, tokens: int) -> int:
        """Side of a group's grid.

        Raises:
            ConfigError: It is none, or has squares of this side and a rest.
        """
        side = math.isqrt(tokens)
        if side * side != tokens or side % self.side:
            fit = [n for n in range(1, side + 1) if side * side == tokens and side % n == 0]
            raise ConfigError(
                f"prune.side={self.side} does not cut a group of {tokens} visual tokens into squares.\n"
                f"  allowed: {', '.join(map(str, fit)) or 'only grids that are squares'}"
                "\n  e.g.  prune=uniform prune.keep=0.25"
            )
        return side
