"""Where a run's numbers go beside metrics.csv: `logger=wandb`, or `logger=csv` for nowhere else."""

from dataclasses import dataclass, field
from typing import Literal

from vxl.config.option import Option, option


@dataclass(frozen=True, kw_only=True)
class LoggerConfig(Option):
    """Keys of every logger (none so far): a run may go on under another one."""


@dataclass(frozen=True, kw_only=True)
class CsvConfig(LoggerConfig):
    """Only metrics.csv in the run directory, which every run has."""

    _target_: str = option("vxl.train.logger.Csv", resumable=True)


@dataclass(frozen=True, kw_only=True)
class WandbConfig(LoggerConfig):
    """Weights & Biases beside metrics.csv; offline unless logged in, so that no account is needed."""

    _target_: str = option("vxl.train.logger.Wandb", resumable=True)
    project: str = option("vxl", resumable=True)
    """W&B project."""
    entity: str | None = option(None, resumable=True)
    """W&B user or team; null: the account's default."""
    mode: Literal["auto", "online", "offline"] = option("auto", resumable=True)
    """auto: online if logged in (wandb login, WANDB_API_KEY), else offline; WANDB_MODE decides where it is set."""
    tags: list[str] = field(default_factory=list, metadata={"resumable": True})
    """Tags of the W&B run."""


class Csv:
    """No logger of its own: metrics.csv is always written."""

    def __init__(self, config: CsvConfig) -> None:
        self.config = config


class Wandb:
    """A W&B run with one id across resumes."""

    def __init__(self, config: WandbConfig) -> None:
        self.config = config
