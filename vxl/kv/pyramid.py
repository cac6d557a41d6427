"""An observing window whose lower layers keep more than the higher ones."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.window import WindowConfig, Windowed
from vxl.llm.cache import Cache


@dataclass(frozen=True, kw_only=True)
class PyramidConfig(WindowConfig):
    """The entries stay that the question's last tokens attend to most; lower layers keep more of them."""

    _target_: str = "vxl.kv.pyramid.Pyramid"
    beta: float = 20.0
    """The highest layer has 1/beta of the mean budget, as long as that is no less than the window."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 1:
            raise ConfigError(
                f"beta={self.beta} turns the pyramid over.\n  allowed: 1 or more\n  e.g.  beta=20"
            )
        if self.layers is not None:
            raise ConfigError(
                f"layers={self.layers} does not go with kv=pyramid, which gives each layer its budget.\n"
                "  type  kv.layers=null kv.keep=0.5   or  kv=snapkv for budgets of your own"
            )


class Pyramid(Windowed):
    """The score of an observing window (see vxl.kv.scored.window), with budgets that fall linearly with the
    layer.

    PyramidKV (arXiv 2406.02069, section 3.2; kvpress' PyramidKVPress). Of q watched tokens with a = q * keep:
    the highest layer has lo = a / beta, the lowest hi = 2a - lo; where hi would exceed q - window, hi = q -
    window and lo = 2a - hi; where the window does not fit into lo, all layers have a. The authors' code
    (Zefan-Cai/PyramidKV, pyramidkv_utils.py) floors its divisions, keeps the window beside the budget and
    falls back at q < 2a, which is not done here. No layer has less than what is protected. With `at=chunks` a
    layer's room may fall as the video grows, where the rule of equal rooms ends."""

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        self.beta = config.beta

    @override
    def rooms(self, cache: Cache, columns: Columns, until: int) -> list[Tensor]:
        watched_B = columns.real_BF[:, :until].sum(dim=1)
        if self.settings.keep is not None and self.settings.of == "all":
            mean_B = watched_B.double() * self.settings.keep
        else:
            mean_B = super().rooms(cache, columns, until)[0].double()
        every_LB = pyramid(watched_B, mean_B, len(cache.layers), self.window, self.beta)
        least_B = self.protected(columns)[:, :until].sum(dim=1)
        return [torch.maximum(torch.minimum(room_B, watched_B), least_B) for room_B in every_LB]

    @override
    def least_room(self, cache: Cache, columns: Columns, until: int) -> Tensor:
        """The mean of the layers: the highest ones may hold no more than what is protected."""
        return super().rooms(cache, columns, until)[0]


def pyramid(watched_B: Tensor, mean_B: Tensor, layers: int, window: int, beta: float) -> list[Tensor]:
    """Each layer's room, int64 [B], of a mean room."""
    most_B = (watched_B - window).double()
    low_B = mean_B / beta
    high_B = 2 * mean_B - low_B
    over_B = high_B >= most_B
    high_B = torch.where(over_B, most_B, high_B)
    low_B = torch.where(over_B, 2 * mean_B - high_B, low_B)
    falls_B = (watched_B >= high_B) & (high_B >= low_B) & (low_B >= window)
    equal_B = mean_B.round().clamp(min=1)
    steps_B = (high_B - low_B) / max(1, layers - 1)
    return [torch.where(falls_B, (high_B - n * steps_B).round(), equal_B).long() for n in range(layers)]
