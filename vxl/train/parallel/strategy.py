"""Strategies: how a run is spread over processes. All of them write the same checkpoint folders."""

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.option.option import Option, option
from vxl.train.trainer import TrainerConfig

if TYPE_CHECKING:  # late: Lightning takes seconds, and a finished run needs none of it
    from lightning.pytorch.strategies import Strategy


@dataclass(frozen=True, kw_only=True)
class StrategyConfig(Option):
    """Keys of every strategy: a run may go on under another one."""

    is_whole: ClassVar[bool] = True
    """Whether every process has whole weights."""
    context: int = option(1, resumable=True)
    """Context parallelism: processes that share each row. Every one has a part of its tokens and frames, and
    devices / context of them read other rows."""

    @property
    def name(self) -> str:
        """What it is called on a command line, such as `fsdp2` (`fsdp2_grad`, too, is that)."""
        return self._target_.rpartition(".")[2].lower()

    def __post_init__(self) -> None:
        if self.context < 1:
            raise ConfigError(f"context={self.context} is too small.\n  expected: 1 or more")


@dataclass(frozen=True, kw_only=True)
class SingleConfig(StrategyConfig):
    """One process on one device."""

    _target_: str = option("vxl.train.parallel.strategy.Single", resumable=True)


@dataclass(frozen=True, kw_only=True)
class DDPConfig(StrategyConfig):
    """A whole copy of the model in every process; gradients are averaged."""

    _target_: str = option("vxl.train.parallel.strategy.DDP", resumable=True)


@dataclass(frozen=True, kw_only=True)
class FSDP2Config(StrategyConfig):
    """Weights, gradients and optimizer state spread over all processes."""

    is_whole: ClassVar[bool] = False
    _target_: str = option("vxl.train.parallel.strategy.FSDP2", resumable=True)
    reshard: bool = option(True, resumable=True)
    """Give a block's weights back after its forward pass and gather them anew for its backward pass; false
    keeps them in between: one gathering less, and the memory of a whole copy of the weights."""
    offload: bool = option(False, resumable=True)
    """Keep weights and optimizer state in the CPU's memory: slow, for models that don't fit otherwise."""


@dataclass(frozen=True, kw_only=True)
class HSDPConfig(FSDP2Config):
    """Copies of the model, each spread over some processes (those of a machine, usually)."""

    _target_: str = option("vxl.train.parallel.strategy.HSDP", resumable=True)
    shard: int | None = option(None, resumable=True)
    """Processes that share a copy of the model; null: those of a machine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard is not None and self.shard < 1:
            raise ConfigError(f"shard={self.shard} is too small.\n  expected: null, or 1 or more")


class Launch(abc.ABC):
    """A strategy as chosen in the config; Lightning is imported only when its own object is asked for."""

    @abc.abstractmethod
    def lightning(self, device: torch.device, trainer: TrainerConfig) -> "Strategy":
        """Lightning's strategy object.

        Args:
            device: Device of this process.
            trainer: How many processes there are, and their precision.
        """


class Single(Launch):
    """One process on one device."""

    def __init__(self, config: SingleConfig) -> None:
        self.config = config

    @override
    def lightning(self, device: torch.device, trainer: TrainerConfig) -> "Strategy":
        # late: Lightning takes seconds, and a finished run needs none of it
        from vxl.train.parallel.lightning_strategies import SingleStrategy

        return SingleStrategy(device)


class DDP(Launch):
    """A whole copy of the model in every process."""

    def __init__(self, config: DDPConfig) -> None:
        self.config = config

    @override
    def lightning(self, device: torch.device, trainer: TrainerConfig) -> "Strategy":
        # late: Lightning takes seconds, and a finished run needs none of it
        from vxl.train.parallel.lightning_strategies import ReplicatedStrategy

        # A batch need not use every parameter (text alone has no frames for a plug-in's tower, say).
        return ReplicatedStrategy(find_unused_parameters=True, gradient_as_bucket_view=True)


class FSDP2(Launch):
    """The model spread over all processes."""

    def __init__(self, config: FSDP2Config) -> None:
        self.config = config

    @override
    def lightning(self, device: torch.device, trainer: TrainerConfig) -> "Strategy":
        # late: Lightning takes seconds, and a finished run needs none of it
        from vxl.train.parallel.lightning_strategies import ShardedStrategy

        return ShardedStrategy(
            shape=self.shape(trainer),
            precision=trainer.precision,
            reshard=self.config.reshard,
            offload=self.config.offload,
        )

    def shape(self, trainer: TrainerConfig) -> tuple[int, ...]:
        """Sizes of the mesh: processes a copy, or (copies, processes a copy)."""
        return (trainer.devices * trainer.num_nodes,)


class HSDP(FSDP2):
    """Copies of the model, each spread over some processes."""

    config: HSDPConfig

    def __init__(self, config: HSDPConfig) -> None:
        super().__init__(config)

    @override
    def shape(self, trainer: TrainerConfig) -> tuple[int, ...]:
        ranks = trainer.devices * trainer.num_nodes
        shard = self.config.shard or trainer.devices
        return (ranks // shard, shard)
