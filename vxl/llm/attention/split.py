"""Context parallelism: which columns of a sequence each process of a context group has.

A process has two stretches, the n-th from the front and the n-th from the back: later queries see more keys,
and so every process has as much to do. In one stretch each, the last of four processes would have seven times
the work of the first.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.distributed import ContextGroup
from vxl.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Split:
    """The columns of a pass of `tokens` tokens that this process has."""

    group: ContextGroup
    tokens: int
    """T."""

    @property
    def stretch(self) -> int:
        """Columns of a stretch; the last ones may be behind the sequence, where nothing is."""
        return -(-self.tokens // (2 * self.group.ranks))

    @property
    def width(self) -> int:
        """Columns of all stretches: T and what is behind it."""
        return 2 * self.group.ranks * self.stretch

    @property
    def starts(self) -> tuple[int, int]:
        """The first columns of this process's stretches."""
        return self.group.rank * self.stretch, (2 * self.group.ranks - 1 - self.group.rank) * self.stretch

    @property
    def columns_L(self) -> Tensor:
        """This process's columns, ascending; in the host's memory."""
        return torch.cat([torch.arange(start, start + self.stretch) for start in self.starts])

    def own(self, whole: Tensor, fill: float = 0) -> Tensor:
        """This process's columns [B, L, ...] of a whole sequence [B, T, ...], `fill` behind its end."""
        parts = []
        for start in self.starts:
            part = whole[:, start : start + self.stretch]
            parts += [part, part.new_full((len(part), self.stretch - part.shape[1], *part.shape[2:]), fill)]
        return torch.cat(parts, dim=1)

    def in_order(self, parts: Tensor) -> Tensor:
        """The sequence [..., width, H] of what the processes have of it, [R, ..., L, H]."""
        front, back = parts.chunk(2, dim=-2)
        return torch.cat([*front.unbind(), *reversed(back.unbind())], dim=-2)


def split_of(group: ContextGroup | None, tokens: int, *, cached: bool) -> Split | None:
    """How a group shares a pass of so many tokens; None where a process has no group.

    Raises:
        ConfigError: The pass continues a cache.
    """
    if group is None:
        return None
    if cached:
        raise ConfigError(
            f"strategy.context={group.ranks} shares out sequences that go through the language model whole, "
            "without a cache.\n  allowed: prefill=full or chunked without kv=vst, or strategy.context=1"
        )
    return Split(group, tokens)
