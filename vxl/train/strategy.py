"""Strategies: how a run is spread over processes. All of them write the same checkpoint folders."""

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vxl.config.option import Option, option

if TYPE_CHECKING:
    import torch
    from lightning.pytorch.strategies import Strategy


@dataclass(frozen=True, kw_only=True)
class StrategyConfig(Option):
    """Keys of every strategy (none so far): a run may go on under another one."""


@dataclass(frozen=True, kw_only=True)
class SingleConfig(StrategyConfig):
    """One process on one device."""

    _target_: str = option("vxl.train.strategy.Single", resumable=True)


class Launch(abc.ABC):
    """A strategy as chosen in the config; Lightning is imported only when its own object is asked for."""

    @abc.abstractmethod
    def lightning(self, device: "torch.device") -> "Strategy":
        """Lightning's strategy object.

        Args:
            device: Device of this process.
        """


class Single(Launch):
    """One process on one device."""

    def __init__(self, config: SingleConfig) -> None:
        self.config = config

    def lightning(self, device: "torch.device") -> "Strategy":
        """Lightning's single-device strategy with vxl's checkpoint folders."""
        from vxl.train.saving import SingleStrategy

        return SingleStrategy(device)
