"""`optim=adamw_8bit`: AdamW whose two moments are held in 8 bits (arXiv 2110.02861), torchao's own.

A moment of a matrix is codes of a byte and a scale for 256 of them; small tensors keep theirs whole, as
torchao decides. In a checkpoint codes and scales are plain tensors beside each other (`exp_avg/codes`,
`exp_avg/scale`): it is written, verified and read without torchao, and resumes with the same bits.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from vxl.errors import ConfigError
from vxl.option.option import Option

BLOCK = 256
"""Numbers of a moment that share a scale of four bytes."""
LEAST = 4096
"""Numbers of a tensor from which on its moments are held in codes, where blocks fill it."""
CODES, SCALE = "/codes", "/scale"
"""What the names of a moment's tensors end with in a checkpoint."""
SIGNED = {"exp_avg": True, "exp_avg_sq": False}
"""The moments, and whether their numbers have signs."""


@dataclass(frozen=True, kw_only=True)
class AdamW8bitConfig(Option):
    """AdamW with moments of 8 bits; `pip install 'vxl[adamw8bit]'`. It compiles its step, once a shape."""

    _target_: str = "vxl.train.step.adamw_8bit.adamw_8bit"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Shares of the running means of gradients and of their squares that stay at a step."""
    eps: float = 1e-8
    """What is added to the root of the mean of squares."""
    weight_decay: float = 0.0
    """Share of a weight, times the learning rate, that a step takes away."""

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas={self.betas} are not AdamW's.\n  expected: two numbers, 0 <= beta < 1")
        if self.eps < 0:
            raise ConfigError(f"eps={self.eps} is below 0.\n  expected: 0 or more")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay={self.weight_decay} lets weights grow.\n  expected: 0 or more")


def adamw_8bit(config: AdamW8bitConfig, params: list[dict[str, Any]]) -> Optimizer:
    """torchao's optimizer over groups with a learning rate each.

    Raises:
        ConfigError: torchao is not installed.
    """
    first, second = config.betas
    settings: dict[str, Any] = {"eps": config.eps, "weight_decay": config.weight_decay, "block_size": BLOCK}
    return library("torchao.optim").AdamW8bit(params, betas=(first, second), **settings)


def library(name: str) -> Any:
    """A module of torchao.

    Raises:
        ConfigError: torchao is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"optim=adamw_8bit needs torchao: {error}\n  type  pip install 'vxl[adamw8bit]'   or  optim=adamw"
        ) from error


def in_codes(numbers: int) -> bool:
    """Whether moments of a tensor of so many numbers are held in codes."""
    return numbers >= LEAST and numbers % BLOCK == 0


def kept_bytes(numbers: int, of_number: float) -> float:
    """Bytes of both moments of a tensor.

    Args:
        numbers: How many the tensor has.
        of_number: Bytes of one of them, where a moment is kept whole.
    """
    return 2 * (numbers + 4 * numbers / BLOCK if in_codes(numbers) else numbers * of_number)


def as_plain_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state of a parameter with codes and scales for moments of 8 bits; any other as it is."""
    plain: dict[str, Any] = {}
    for key, value in state.items():
        if key in SIGNED and hasattr(value, "codes"):
            plain |= {f"{key}{CODES}": value.codes, f"{key}{SCALE}": value.scale}
        else:
            plain[key] = value
    return plain


def as_moments(state: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
    """What `as_plain_tensors` was given, on the parameter's device.

    Raises:
        ConfigError: There are codes, and torchao is not installed.
    """
    moments: dict[str, Any] = {}
    for key, value in state.items():
        if key.endswith(CODES):
            moment = key.removesuffix(CODES)
            moments[moment] = library("torchao.optim.subclass_8bit").OptimState8bit.zeros(
                parameter.shape, SIGNED[moment], BLOCK, parameter.device, dtype=parameter.dtype
            )
            moments[moment].codes.copy_(value)
            moments[moment].scale.copy_(state[f"{moment}{SCALE}"])
        elif not key.endswith(SCALE):
            moments[key] = value
    return moments
