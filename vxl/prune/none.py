"""No pruning: every visual token reaches the language model."""

from dataclasses import dataclass

from vxl.prune.base import PruneConfig, Pruned, Pruner, VideoTokens, unchanged


@dataclass(frozen=True, kw_only=True)
class KeepEverythingConfig(PruneConfig):
    """Every visual token reaches the language model."""

    _target_: str = "vxl.prune.none.KeepEverything"


class KeepEverything(Pruner):
    """Never called."""

    def __init__(self, config: KeepEverythingConfig) -> None:
        super().__init__(config)

    def prune(self, video: VideoTokens) -> Pruned:
        """See `Pruner.prune`."""
        return unchanged(video)
