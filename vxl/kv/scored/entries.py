"""What one layer of a cache holds, as a score reads it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vxl.kv.scored.columns import Columns
from vxl.llm.block import Block
from vxl.llm.cache import Cache
from vxl.llm.kernels import usable
from vxl.precision import at_least_single

STACK = 2**27
"""Numbers of the keys of layers that are scored together."""


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of one layer, and how many of them may stay.

    Axis N of what says where entries stand is 1 where all heads hold the same; keys and values have all
    heads. Layers that hold as many entries may be together, one behind the other on axis B.
    """

    cache: Cache
    layer: int
    columns: Columns
    """What was fed."""
    room_B: Tensor
    """Entries that each head may hold, int64."""
    protected_BNS: Tensor
    """Entries that stay whatever their score, bool."""
    others: tuple[int, ...] = ()
    """Layers that are here, too, behind the first one; where there are any, the cache has one row."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Whose entries they are."""
        return (self.layer, *self.others)

    @property
    def gaps(self) -> bool:
        """Whether some may not exist."""
        return any(b.valid_BNS is not None for layer in self.layers for b in self.cache.layers[layer])

    @cached_property
    def valid_BNS(self) -> Tensor:
        """Entries that exist."""
        return valid_of(self.cache, self.layers)

    @cached_property
    def index_BNS(self) -> Tensor:
        """The column that each entry was fed as."""
        return index_of(self.cache, self.layers)

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
        return self._whole(lambda block, out: out.copy_(block.keys_BNSH))

    @cached_property
    def values_BNSH(self) -> Tensor:
        """Values, float32 at least."""
        return self._whole(lambda block, out: out.copy_(block.values_BNSH))

    @cached_property
    def turned_BNSH(self) -> Tensor:
        """Keys at their positions, float32 at least."""
        return self._whole(lambda block, out: turn_into(block, self.cache, out))

    @cached_property
    def key_norms_BNS(self) -> Tensor:
        """Lengths of the keys, float32 at least."""
        return self._norms(lambda block: block.keys_BNSH)

    @cached_property
    def value_norms_BNS(self) -> Tensor:
        """Lengths of the values, float32 at least."""
        return self._norms(lambda block: block.values_BNSH)

    @property
    def queries_BMQH(self) -> Tensor:
        """Queries that the last pass observed, rotated, float32 at least."""
        observed = self.cache.observed
        assert observed is not None, "the last pass was not observed"
        return at_least_single(torch.cat([observed.queries[layer] for layer in self.layers]))

    def of(self, column_BF: Tensor) -> Tensor:
        """Each entry's number of a tensor over what was fed, [B, N, S]."""
        return per_entry(column_BF, self.index_BNS)

    def _whole(self, fill: Callable[[Block, Tensor], object]) -> Tensor:
        like = self.cache.layers[self.layer][0].keys_BNSH
        rows, entries = self.cache.rows, self.cache.entries(self.layer)
        whole = like.new_empty(
            len(self.layers) * rows, like.shape[1], entries, like.shape[3], dtype=single(like.dtype)
        )
        for part_BNSH, layer in zip(whole.split(rows), self.layers, strict=True):
            blocks = self.cache.layers[layer]
            for block, out in zip(blocks, part_BNSH.split([*map(len, blocks)], dim=2), strict=True):
                fill(block, out)
        return whole

    def _norms(self, of: Callable[[Block], Tensor]) -> Tensor:
        layers_BNS = []
        for layer in self.layers:
            parts = [of(block) for block in self.cache.layers[layer]]
            norms = [torch.linalg.vector_norm(x, dim=-1, dtype=single(x.dtype)) for x in parts]
            layers_BNS.append(torch.cat([norm.expand(self.cache.rows, -1, -1) for norm in norms], dim=-1))
        return layers_BNS[0] if len(layers_BNS) == 1 else torch.cat(layers_BNS)


def turn_into(block: Block, cache: Cache, out: Tensor) -> None:
    """Writes a block's keys at their positions."""
    if block.rotated_BNSH is not None or not usable(out_keys := block.keys_BNSH):
        out.copy_(block.rotated(cache.rotary))
        return
    from vxl.llm.kernels.entries import taken  # late: Triton, which only GPUs need

    table = cache.rotary.table(cache.fed, out_keys.device, out_keys.dtype)
    taken([out_keys], None, None, rows=len(out), positions_BNS=block.positions_BNS, table=table, out=out)


def index_of(cache: Cache, layers: Sequence[int]) -> Tensor:
    """The column that each entry of some layers was fed as, [B, N, S]; layers one behind the other."""
    parts = [[block.index_BNS for block in cache.layers[layer]] for layer in layers]
    heads = max(part.shape[1] for part in parts[0])
    layers_BNS = [torch.cat([part.expand(cache.rows, heads, -1) for part in own], dim=-1) for own in parts]
    return layers_BNS[0] if len(layers_BNS) == 1 else torch.cat(layers_BNS)


def valid_of(cache: Cache, layers: Sequence[int]) -> Tensor:
    """Which entries of some layers exist, [B, N, S]; layers one behind the other."""
    blocks = [block for layer in layers for block in cache.layers[layer]]
    if any(block.valid_BNS is not None for block in blocks):
        return torch.cat([cache.valid(layer) for layer in layers])
    heads = max(block.positions_BNS.shape[1] for block in blocks)
    return blocks[0].positions_BNS.new_ones(
        len(layers) * cache.rows, heads, cache.entries(layers[0]), dtype=torch.bool
    )


def stacks(cache: Cache, layers: Sequence[int] | None = None) -> Iterator[list[int]]:
    """Runs of layers that can be scored together: of one row, with as many entries in blocks alike.

    Args:
        cache: Whose layers.
        layers: Some of them in order; None = all.
    """
    layers = range(len(cache.layers)) if layers is None else layers
    if not layers:
        return
    like = cache.layers[layers[0]][0].keys_BNSH

    def shape(layer: int) -> list[object]:
        return [(len(b), b.positions_BNS.shape, b.valid_BNS is None) for b in cache.layers[layer]]

    most = max(1, STACK // max(1, like[0, :, 0].numel() * cache.entries(layers[0])))
    run: list[int] = []
    for layer in layers:
        if run and (cache.rows > 1 or len(run) == most or shape(layer) != shape(run[0])):
            yield run
            run = []
        run.append(layer)
    yield run


def per_entry(column_BF: Tensor, index_BNS: Tensor) -> Tensor:
    """Entries' numbers of a tensor over what was fed, [B, N, S]."""
    rows, heads, _ = index_BNS.shape
    return column_BF[:, None].expand(rows, heads, -1).gather(2, index_BNS)


def single(dtype: torch.dtype) -> torch.dtype:
    """float32 where a type is of half precision."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def unit(vectors: Tensor, eps: float = 0.0) -> Tensor:
    """Vectors of length 1; zero stays zero."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / (norm + eps if eps else norm.clamp(min=torch.finfo(norm.dtype).tiny))
