"""Entries whose keys are short stay."""

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored
from vxl.llm.cache import Cache


@dataclass(frozen=True, kw_only=True)
class KnormConfig(ScoredConfig):
    """The entries with the shortest keys stay, in every head its own."""

    _target_: str = "vxl.kv.knorm.Knorm"
    skip_layers: int = 0
    """First layers that keep everything: the paper leaves layers 0 and 1 alone, kvpress none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skip_layers < 0:
            raise ConfigError(f"skip_layers={self.skip_layers} is no number of layers.\n  allowed: 0 or more")


class Knorm(Scored):
    """Score: -||u_e||, the norm of the key (rotation does not change it).

    L2 norm (arXiv 2406.11430, section 3). kvpress (KnormPress) compresses every layer, which is the default
    here. Tokens with one id have one key in layer 0 and tie there; the older one stays.
    """

    together = True

    def __init__(self, config: KnormConfig) -> None:
        super().__init__(config)
        self.skip_layers = config.skip_layers

    @override
    def score(self, entries: Entries) -> Tensor:
        return -entries.key_norms_BNS

    @override
    def rooms(self, cache: Cache, columns: Columns, until: int) -> list[Tensor]:
        """The first layers have room for all."""
        rooms = super().rooms(cache, columns, until)
        all_B = columns.real_BF.sum(dim=1)
        untouched = min(self.skip_layers, len(rooms))
        return [all_B] * untouched + rooms[untouched:]
