"""The cache of an exported model: of each row what it watched, with entries at positions of their own."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import Cache as TransformersCache

from vxl.generate.context import Context
from vxl.llm.cache import Cache


@dataclass(frozen=True, eq=False)
class RowCache:
    """One row: what it watched, and the keys and values of that and of all that came behind."""

    context: Context
    cache: Cache

    def fork(self) -> "RowCache":
        """The same, going on from here on its own; it shares all entries so far."""
        return replace(self, cache=self.cache.fork())


class VxlCache(TransformersCache):
    """Keys and values of the rows of one request.

    A policy drops entries, so a row has fewer than it was fed, each at its own position; rows differ in their
    number. `get_seq_length` counts what was fed, padding included, as generation does.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.rows: list[RowCache] = []
        self.fed = 0

    def __len__(self) -> int:
        return len(self.rows[0].cache.layers) if self.rows else 0

    def __repr__(self) -> str:
        kept = [row.cache.entries() for row in self.rows]
        return f"VxlCache(rows={len(self.rows)}, fed={self.fed}, kept={kept})"

    def update(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Refused: the model puts entries in by itself."""
        raise NotImplementedError("a VxlCache is filled by its own model")

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns that were fed."""
        return self.fed

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """-1: it grows."""
        return -1

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """-1: it grows."""
        return -1

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:
        """Sizes of a mask over what was fed; the model makes its own of what was kept."""
        length = query_length if isinstance(query_length, int) else len(query_length)
        return self.fed + length, 0

    @property
    def is_initialized(self) -> bool:
        """Whether anything was fed."""
        return self.fed > 0

    @property
    def is_compileable(self) -> bool:
        """Its shapes change."""
        return False

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i goes on from what row `beam_idx[i]` was."""
        self.rows = [self.rows[row].fork() for row in beam_idx.tolist()]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row becomes several."""
        self.rows = [row.fork() for row in self.rows for _ in range(repeats)]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps some rows."""
        chosen = torch.arange(len(self.rows))[indices.cpu()].tolist()
        self.rows = [self.rows[row].fork() for row in chosen]

    def crop(self, *args: Any, **kwargs: Any) -> None:
        """Refused: entries that a policy dropped do not come back."""
        raise NotImplementedError("a VxlCache can't be cropped: assisted generation does not work with it")

    def reset(self) -> None:
        """Forgets all."""
        self.rows, self.fed = [], 0
