"""Bytes of a cache: those that it keeps alive, and those of the entries that it has."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from vxl.llm.block import Block


def held_bytes(layers: Sequence[Sequence[Block]], device: str | None = None) -> int:
    """Memory that blocks keep alive, room behind them included; storage that they share counts once."""
    sizes = {}
    for tensor in _tensors(layers):
        if device in (None, tensor.device.type):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def used_bytes(layers: Sequence[Sequence[Block]]) -> int:
    """Memory of the entries alone; a tensor that layers or heads share counts once."""
    sizes = {}
    for tensor in _tensors(layers):
        own = min(tensor.nbytes, tensor.untyped_storage().nbytes())
        sizes[tensor.data_ptr(), tensor.shape] = own
    return sum(sizes.values())


def _tensors(layers: Sequence[Sequence[Block]]) -> Iterator[Tensor]:
    return (tensor for blocks in layers for block in blocks for tensor in block.tensors())
