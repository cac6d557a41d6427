"""Differential token drop: what resembles the same place of the group before goes (TimeChat-Online, arXiv
2504.17343, section 3).

c[g, j] = cos(x[g, j], x[g-1, j]) with the unpruned group before; group 0 stays whole. `relative` drops
the int(K · (1 - keep)) largest c of each group, `absolute` all above a threshold. The authors also
compare pixels and keep the positions of what was there; here positions count what is fed.
"""

from dataclasses import dataclass
from typing import ClassVar

from vxl.errors import ConfigError
from vxl.prune.base import KeepConfig, Pruned, StreamingPruner, VideoTokens, best
from vxl.prune.evs import FIRST, changes


@dataclass(frozen=True, kw_only=True)
class DTDConfig(KeepConfig):
    """Places that resemble the group before go."""

    _target_: str = "vxl.prune.dtd.DTD"
    above: float | None = None
    """Drop every place with a cosine above this, in place of a fraction of each group (the authors: 0.5; 0.25
    in their demo); null for the fraction `keep`. How many stay then depends on the video: packing is
    refused."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.above is not None and not -1 <= self.above <= 1:
            raise ConfigError(f"prune.above={self.above} is no cosine.\n  allowed: -1 to 1, or null")


class DTD(StreamingPruner):
    """What resembles the group before goes."""

    config: DTDConfig
    carries: ClassVar[int] = 1

    def __init__(self, config: DTDConfig) -> None:
        super().__init__(config)

    @property
    def drops(self) -> bool:
        """See `Pruner.drops`."""
        return super().drops or self.config.above is not None

    def prune_piece(self, piece: VideoTokens, before: VideoTokens | None, done: int, groups: int) -> Pruned:
        """See `StreamingPruner.prune_piece`."""
        last_KD = None if before is None else before.float().visual_GKD[-1]
        change_GK = changes(piece.float().visual_GKD, last_KD)
        if self.config.above is not None:
            kept_GK = 1 - change_GK <= self.config.above
        else:
            # The largest cosines go; of equal ones the earlier, as a stable sort of the authors' scores has
            # it.
            redundant = int(piece.visual_GKD.shape[1] * (1 - self.config.keep))
            kept_GK = ~best(-change_GK, redundant) | (change_GK == FIRST)
        return Pruned(kept_GK, piece.visual_GKD)

    def count(self, groups: int, tokens: int) -> int | None:
        """See `Pruner.count`."""
        if self.config.above is not None:
            return None
        return tokens + (groups - 1) * (tokens - int(tokens * (1 - self.config.keep)))
