"""What one layer of a cache holds, as a score reads it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vxl.kv.scored.columns import Columns
from vxl.llm.cache import Cache
from vxl.precision import at_least_single


@dataclass(frozen=True, eq=False)
class Held:
    """The entries of one layer, and how many of them may stay.

    Axis N of what says where entries stand is 1 where all heads hold the same; keys and values have all
    heads.
    """

    cache: Cache
    layer: int
    columns: Columns
    """What was fed."""
    room_B: Tensor
    """Entries that each head may hold, int64."""
    protected_BNS: Tensor
    """Entries that stay whatever their score, bool."""

    @cached_property
    def valid_BNS(self) -> Tensor:
        """Entries that exist."""
        return self.cache.valid(self.layer)

    @cached_property
    def index_BNS(self) -> Tensor:
        """The column that each entry was fed as."""
        return self.cache.index(self.layer)

    @cached_property
    def open_BNS(self) -> Tensor:
        """Entries that are not protected: the score chooses among them."""
        return self.valid_BNS & ~self.protected_BNS

    @cached_property
    def free_BN1(self) -> Tensor:
        """Places for them, int64."""
        held_BN1 = self.protected_BNS.sum(dim=-1, keepdim=True)
        return (self.room_B[:, None, None] - held_BN1).clamp(min=0)

    @cached_property
    def group_BNS(self) -> Tensor:
        """Group of each entry; -1 at text."""
        return self.of(self.columns.group_BF)

    @cached_property
    def ordinal_BNS(self) -> Tensor:
        """Rank of each visual entry among all visual tokens fed."""
        return self.of(self.columns.ordinal_BF)

    @cached_property
    def place_BNS(self) -> Tensor:
        """Rank of each visual entry among those of its group."""
        return self.of(self.columns.place_BF)

    @cached_property
    def keys_BNSH(self) -> Tensor:
        """Un-rotated keys, float32 at least."""
        return self._whole([block.keys_BNSH for block in self.cache.layers[self.layer]])

    @cached_property
    def values_BNSH(self) -> Tensor:
        """Values, float32 at least."""
        return self._whole([block.values_BNSH for block in self.cache.layers[self.layer]])

    @cached_property
    def turned_BNSH(self) -> Tensor:
        """Keys at their positions, float32 at least."""
        blocks = self.cache.layers[self.layer]
        return self._whole([block.rotated(self.cache.rotary) for block in blocks])

    def of(self, column_BF: Tensor) -> Tensor:
        """Each entry's number of a tensor over what was fed, [B, N, S]."""
        return per_entry(column_BF, self.index_BNS)

    def _whole(self, parts: list[Tensor]) -> Tensor:
        joined = torch.cat([part.expand(self.cache.rows, -1, -1, -1) for part in parts], dim=2)
        return at_least_single(joined)


def per_entry(column_BF: Tensor, index_BNS: Tensor) -> Tensor:
    """Entries' numbers of a tensor over what was fed, [B, N, S]."""
    rows, heads, _ = index_BNS.shape
    return column_BF[:, None].expand(rows, heads, -1).gather(2, index_BNS)


def unit(vectors: Tensor, eps: float = 0.0) -> Tensor:
    """Vectors of length 1; zero stays zero."""
    norm = vectors.norm(dim=-1, keepdim=True)
    return vectors / (norm + eps if eps else norm.masked_fill(norm == 0, 1.0))
