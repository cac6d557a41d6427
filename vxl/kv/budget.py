"""One budget for every policy that has one: a fraction of what was watched (`kv.keep`), or a number of
entries (`kv.tokens`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import PolicyConfig
from vxl.llm.cache import Cache
from vxl.option.option import option


@dataclass(frozen=True, kw_only=True)
class BudgetConfig(PolicyConfig):
    """How many of the watched tokens stay in every layer (of a policy that differs by head: in every head on
    average). A question and its answer stay beside them."""

    budgets: ClassVar[tuple[str, ...]] = ("keep", "tokens", "mib")
    """Keys of which exactly one has a value."""

    keep: float | None = 0.5
    """Budget as a fraction of the watched tokens, text included. Either this or another budget; the others
    are null."""
    tokens: int | None = None
    """Budget in entries of every layer."""
    mib: float | None = option(None, later=True)
    """Budget in mebibytes of the cache of what was watched, all layers and heads together."""

    def __post_init__(self) -> None:
        one_of(self, self.budgets)
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(f"keep={self.keep} is no fraction.\n  allowed: 0 < keep <= 1\n  e.g.  keep=0.5")
        if self.tokens is not None and self.tokens < 1:
            raise ConfigError(
                f"tokens={self.tokens} keeps nothing.\n  allowed: 1 or more entries\n  e.g.  tokens=4096"
            )
        if self.mib is not None and self.mib <= 0:
            raise ConfigError(f"mib={self.mib} keeps nothing.\n  allowed: more than 0\n  e.g.  mib=512")


def one_of(config: PolicyConfig, names: Sequence[str]) -> None:
    """Raises unless exactly one of the named budgets has a value."""
    given = [name for name in names if getattr(config, name) is not None]
    if len(given) != 1:
        got = " ".join(f"{name}={getattr(config, name)}" for name in given) or "no budget"
        lines = [" ".join(f"kv.{n}={'VALUE' if n == name else 'null'}" for n in names) for name in names]
        raise ConfigError(
            f"{got}: a policy has one budget.\n  type one of  " + "\n               ".join(lines)
        )


MIB = 2**20


def budget(config: BudgetConfig, watched_B: Tensor, entry_bytes: int = 0) -> Tensor:
    """Entries that each row may hold in every layer, int64, of so many watched tokens.

    Args:
        config: The settings.
        watched_B: Tokens that were watched.
        entry_bytes: What one token takes in all layers together, for a budget in mebibytes.
    """
    if config.mib is not None:
        return torch.full_like(watched_B, int(config.mib * MIB) // max(1, entry_bytes))
    if config.tokens is not None:
        return torch.full_like(watched_B, config.tokens)
    if config.keep is None:
        return torch.full_like(watched_B, torch.iinfo(torch.int64).max)
    return share(watched_B, config.keep)


def share(count_B: Tensor, keep: float) -> Tensor:
    """So much of a count, rounded half up."""
    return (count_B.double() * keep + 0.5).floor().long()


def entry_bytes(cache: Cache, *, per_head: bool, bits: int | None = None) -> int:
    """Bytes of the entries that one token has in all layers, where they stand included.

    Of the newest block of every layer; positions count for each head where heads keep entries of their own.

    Args:
        cache: What was watched.
        per_head: Whether heads keep entries of their own.
        bits: Of codes, where keys and values are held in them with a scale of 32 bits a vector.
    """
    total = 0
    for blocks in cache.layers:
        block = blocks[-1]
        heads, width = block.keys_BNSH.shape[1], block.keys_BNSH.shape[3]
        wide = [x for x in (block.keys_BNSH, block.values_BNSH, block.rotated_BNSH) if x is not None]
        if bits is None:
            total += sum(x.shape[1] * x.shape[3] * x.element_size() for x in wide)
        else:
            total += 2 * heads * (width * bits // 8 + 4)
        places = block.positions_BNS.element_size() + block.index_BNS.element_size() + 1
        total += (heads if per_head else 1) * places
    return total
