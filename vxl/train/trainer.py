"""The trainer: how long, on what, in which precision; and Lightning's Trainer made of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vxl.config.option import option
from vxl.errors import ConfigError

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from vxl.train.strategy import Launch


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How a run is carried out. Everything counts in optimizer steps."""

    max_steps: int = option(1000, resumable=True)
    """Optimizer steps of the whole run; a larger number lets a finished run go on."""
    accumulate: int = option(1, resumable=True)
    """Micro-batches a rank sums up for one optimizer step: global batch = data.batch x accumulate x ranks."""
    precision: Literal["32-true", "bf16-mixed", "bf16-true", "64-true"] = "bf16-mixed"
    """Arithmetic and weights; bf16-mixed keeps weights in fp32 and computes in bf16."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """What to run on; auto takes a GPU if there is one."""
    devices: int = option(1, resumable=True)
    """Processes a node, each with one device."""
    num_nodes: int = option(1, resumable=True)
    """Machines."""
    deterministic: bool = False
    """Only deterministic kernels: on CUDA needed for equal numbers, at some speed; a CPU needs nothing."""
    threads: int | None = None
    """CPU threads for arithmetic; null: PyTorch's choice. Another number rounds differently."""
    val_every: int = option(500, resumable=True)
    """Steps between validations; there is one before the first step and one after the last, too. 0: those two."""
    log_every: int = option(10, resumable=True)
    """Steps between rows in metrics.csv and in the logger."""
    print_every: int = option(50, resumable=True)
    """Steps between lines when the output is no terminal and so has no progress bar."""

    def __post_init__(self) -> None:
        for name in ("max_steps", "accumulate", "devices", "num_nodes", "log_every", "print_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is too small.\n  expected: 1 or more")
        if self.val_every < 0:
            raise ConfigError(f"val_every={self.val_every} is too small.\n  expected: 0 (only ends) or more")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads={self.threads} is too small.\n  expected: null, or 1 or more")
