"""One budget for every policy that has one: a fraction of what was watched (`kv.keep`), or a number of
entries (`kv.tokens`)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import PolicyConfig


@dataclass(frozen=True, kw_only=True)
class BudgetConfig(PolicyConfig):
    """How many of the watched tokens stay in every layer (of a policy that differs by head: in every head on
    average). A question and its answer stay beside them."""

    keep: float | None = 0.5
    """Budget as a fraction of the watched tokens, text included. Either this or another budget; the others
    are null."""
    tokens: int | None = None
    """Budget in entries of every layer."""

    def __post_init__(self) -> None:
        one_of(self, ("keep", "tokens"))
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(f"keep={self.keep} is no fraction.\n  allowed: 0 < keep <= 1\n  e.g.  keep=0.5")
        if self.tokens is not None and self.tokens < 1:
            raise ConfigError(
                f"tokens={self.tokens} keeps nothing.\n  allowed: 1 or more entries\n  e.g.  tokens=4096"
            )


def one_of(config: PolicyConfig, names: Sequence[str]) -> None:
    """Raises unless exactly one of the named budgets has a value."""
    given = [name for name in names if getattr(config, name) is not None]
    if len(given) != 1:
        got = " ".join(f"{name}={getattr(config, name)}" for name in given) or "no budget"
        lines = [" ".join(f"kv.{n}={'VALUE' if n == name else 'null'}" for n in names) for name in names]
        raise ConfigError(
            f"{got}: a policy has one budget.\n  type one of  " + "\n               ".join(lines)
        )


def budget(config: BudgetConfig, watched_B: Tensor) -> Tensor:
    """Entries that each row may hold, int64, of so many watched tokens."""
    if config.tokens is not None:
        return torch.full_like(watched_B, config.tokens)
    if config.keep is None:
        return torch.full_like(watched_B, torch.iinfo(torch.int64).max)
    return (watched_B.double() * config.keep + 0.5).floor().long()
