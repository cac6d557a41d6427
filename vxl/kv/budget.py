"""One budget for every policy that has one: a fraction of what was watched (`kv.keep`), or a number of
entries (`kv.tokens`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import PolicyConfig
from vxl.llm.cache import Cache
from vxl.llm.cache.codes import groups_of
from vxl.option.option import option
from vxl.sequence.share import share
from vxl.units import MIB


@runtime_checkable
class KeepsShare(Protocol):
    """Settings with a share of the watched tokens that stays."""

    @property
    def keep(self) -> float | None:
        """The share; None where another budget counts."""


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
        super().__post_init__()
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
    budgets = [name for name in names if getattr(config, name) is not None]
    if len(budgets) != 1:
        typed = " ".join(f"{name}={getattr(config, name)}" for name in budgets) or "no budget"
        lines = [" ".join(f"kv.{n}={'VALUE' if n == name else 'null'}" for n in names) for name in names]
        raise ConfigError(
            f"{typed}: a policy has one budget.\n  type one of  " + "\n               ".join(lines)
        )


class Cost(NamedTuple):
    """Bytes of what was watched, all layers together, wherever it lies."""

    entry: int
    """Of the entries that one token has, where they stand included."""
    beside: int
    """Of what does not grow with them."""


def budget(config: BudgetConfig, watched_B: Tensor, cost: Cost | None = None) -> Tensor:
    """Entries that each row may hold in every layer, int64, of so many watched tokens.

    Args:
        config: The settings.
        watched_B: Tokens that were watched.
        cost: What entries take, for a budget in mebibytes.
    """
    if config.mib is not None:
        assert cost is not None, "a budget in bytes needs to know what an entry takes"
        return torch.full_like(watched_B, max(0, int(config.mib * MIB) - cost.beside) // cost.entry)
    if config.tokens is not None:
        return torch.full_like(watched_B, config.tokens)
    if config.keep is None:
        return torch.full_like(watched_B, torch.iinfo(torch.int64).max)
    return share(watched_B, config.keep)


def cost_of(cache: Cache, config: PolicyConfig, *, per_head: bool) -> Cost:
    """What entries take as `config` has them held.

    Codes in runs of entries count with their share of the run's scales; what runs that lost entries have
    beyond that, and the newest entries, which are held as they are, stand beside.

    Args:
        cache: What was watched; its newest blocks say how wide entries are.
        config: How it is held.
        per_head: Whether heads keep entries of their own, so that each has places of its own.
    """
    entry = beside = 0
    for blocks in cache.layers:
        block = blocks[-1]
        (_, heads, _, width), size = block.shape, block.dtype.itemsize
        places = block.positions_BNS.element_size() + block.index_BNS.element_size() + 1
        own = heads if per_head else 1
        plain = (3 if cache.memo and not config.offload else 2) * heads * width * size + own * places
        if config.bits is None:
            entry += plain
        elif config.run_of_codes is None:
            entry += 2 * heads * (width + 4) + own * places
        else:
            values = width // 2 + 2 * groups_of(width) * size
            scales = -(-2 * heads * width * size // config.run_of_codes)
            entry += heads * (width // 2 + values) + scales + own * (places + 4)
            beside += 2 * config.run_of_codes * plain
            beside += sum(max(0, b.shared_bytes - scales * len(b)) for b in blocks)
    return Cost(entry, beside)
