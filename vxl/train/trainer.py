"""The trainer: how long, on what, in which precision; and Lightning's Trainer made of it."""

from dataclasses import dataclass
from typing import Literal

import torch

from vxl.errors import ConfigError
from vxl.llm.packed import Frozen
from vxl.option.option import option, refuse_below


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How a run is carried out. Everything counts in optimizer steps."""

    max_steps: int = option(1000, resumable=True)
    """Optimizer steps of the whole run; a larger number lets a finished run go on."""
    accumulate: int = option(1, resumable=True)
    """Micro-batches a rank sums up for one optimizer step: global batch = data.batch x accumulate x ranks."""
    micro_batch: Literal["given", "auto"] = option("given", resumable=True)
    """given: data.batch; auto: the largest that fits into the GPU, with trainer.accumulate for the same
    global batch."""
    precision: Literal["32-true", "bf16-mixed", "bf16-true", "64-true"] = "bf16-mixed"
    """Arithmetic and weights; bf16-mixed keeps weights in fp32 and computes in bf16."""
    frozen: Frozen = "same"
    """Precision of weights that do not learn: like the others; bf16 (half the memory under bf16-mixed); or
    int8 or nf4 (4 bits) for those beside LoRA's updates and bf16 for the others (needs bitsandbytes)."""
    compile: Literal["none", "inductor", "aot_eager"] = option("none", resumable=True)
    """Compile each block: inductor (faster on a GPU, a minute at the start), or aot_eager (traces only)."""
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
    """Steps between validations; 0: only the one before the first step and the one after the last."""
    show: int = option(8, resumable=True)
    """Held-out questions that a validation shows with frames and answers: in predictions/ and the logger."""
    log_every: int = option(10, resumable=True)
    """Steps between rows in metrics.csv and in the logger."""
    print_every: int = option(50, resumable=True)
    """Steps between lines when the output is no terminal and so has no progress bar."""

    def __post_init__(self) -> None:
        refuse_below(1, self, "max_steps", "accumulate", "devices", "num_nodes", "log_every", "print_every")
        if self.show < 0:
            raise ConfigError(f"show={self.show} is too small.\n  expected: 0 (none) or more")
        if self.val_every < 0:
            raise ConfigError(
                f"val_every={self.val_every} is too small.\n  expected: 0 (only at both ends) or more"
            )
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads={self.threads} is too small.\n  expected: null, or 1 or more")


def accelerator_of(config: TrainerConfig) -> Literal["cpu", "gpu"]:
    """What the run computes on.

    Raises:
        ConfigError: A GPU is asked for and there is none, or there are fewer than `devices`.
    """
    there = torch.cuda.device_count()
    if config.accelerator == "gpu" and not there:
        raise ConfigError(
            "trainer.accelerator=gpu, but PyTorch sees no GPU here.\n"
            "  on the CPU:  trainer=cpu\n  check:       nvidia-smi, and python -c 'import torch; "
            "print(torch.version.cuda)'"
        )
    if not there or config.accelerator == "cpu":
        return "cpu"
    if config.devices > there:
        raise ConfigError(
            f"trainer.devices={config.devices}, but this machine has {there} GPU{'s' * (there > 1)}.\n"
            f"  allowed: 1 to {there}\n  e.g.  trainer.devices={there}   (processes on the CPU: trainer=cpu)"
        )
    return "gpu"


def device_of(config: TrainerConfig, local: int = 0) -> torch.device:
    """The device of the process that is number `local` on its machine."""
    return torch.device("cpu") if accelerator_of(config) == "cpu" else torch.device("cuda", local)
