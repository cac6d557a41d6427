"""Keys and values in the host's memory: a layer's come to the GPU while the layer before it runs.

Where entries stand (positions, indexes, which exist) stays on the device: policies ask for it all the time,
and layers mostly share it. Without a GPU the same code runs without streams.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.block import Block, Choice, Places
from vxl.llm.cache.offload import mover
from vxl.llm.cache.past import Past
from vxl.llm.rope import Rotary


class HostBlock(Block):
    """A block, coded or not, whose keys and values lie in the host's memory; reading them copies all of it
    to where its places are. Rotated keys are not remembered."""

    def __init__(self, inner: Block) -> None:
        for name, value in ({"inner": inner, "rotated_BNSH": None} | inner.places._asdict()).items():
            object.__setattr__(self, name, value)  # blocks are frozen

    inner: Block

    @classmethod
    def of(cls, block: Block) -> "HostBlock":
        """A block, moved to the host; there when this returns."""
        with mover(torch.device("cpu")) as move:
            return cls(block.with_wide(move))

    def fetched(self) -> Block:
        """The block on its device; a GPU may still be copying, in the order of its stream."""
        device = self.positions_BNS.device
        return self.inner.with_wide(lambda tensor: tensor.to(device, non_blocking=True))

    @property
    def keys_BNSH(self) -> Tensor:
        """Un-rotated keys, on the device."""
        return self.fetched().keys_BNSH

    @property
    def values_BNSH(self) -> Tensor:
        """Values, on the device."""
        return self.fetched().values_BNSH

    @property
    @override
    def shape(self) -> tuple[int, int, int, int]:
        return self.inner.shape

    @property
    @override
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    @override
    def shared_bytes(self) -> int:
        return self.inner.shared_bytes

    @property
    @override
    def coding(self) -> type | None:
        return self.inner.coding

    @override
    def plain(self) -> Block:
        return self.fetched().plain()

    @override
    def tensors(self) -> Iterator[Tensor]:
        return self.inner.tensors()

    @override
    def chosen(self, choice: Choice) -> Block:
        return HostBlock.of(self.fetched().chosen(choice))

    @override
    def standing(self, places: Places) -> Block:
        return HostBlock(self.inner.standing(places))

    @override
    def at(self, positions_BNS: Tensor, rotary: Rotary) -> Block:
        return HostBlock(self.inner.at(positions_BNS, rotary))

    @override
    def detached(self) -> Block:
        return self

    @override
    def with_wide(self, move: Callable[[Tensor], Tensor]) -> Block:
        return self  # they stay on the host, wherever the cache goes


def past_of(layers: Sequence[tuple[Block, ...]]) -> Sequence[tuple[Block, ...]]:
    """What a pass reads of a cache's layers: their blocks, fetched ahead where they lie on the host."""
    away = any(isinstance(block, HostBlock) for blocks in layers for block in blocks)
    return Fetching(layers) if away else tuple(layers)


class Fetching(Past):
    """The layers of a cache for one pass: who reads a layer starts the copy of the next one, on a stream of
    its own. So two layers are on the device at a time."""

    def __init__(self, layers: Sequence[tuple[Block, ...]]) -> None:
        self.layers = tuple(layers)
        self.coming: dict[int, tuple[tuple[Block, ...], Any]] = {}
        """Layers that have been started, each with the mark of its end."""
        device = next(block.positions_BNS.device for blocks in self.layers for block in blocks)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __len__(self) -> int:
        return len(self.layers)

    @override
    def blocks(self, layer: int) -> tuple[Block, ...]:
        blocks, event = self.coming[layer] if layer in self.coming else self.start(layer)
        self.coming = {layer + 1: self.start(layer + 1)} if layer + 1 < len(self.layers) else {}
        if event is not None:
            now = torch.cuda.current_stream()
            now.wait_event(event)
            for block, source in zip(blocks, self.layers[layer], strict=True):
                for tensor in block.tensors() if block is not source else ():
                    tensor.record_stream(now)  # its memory is the other stream's
        return blocks

    def start(self, layer: int) -> tuple[tuple[Block, ...], Any]:
        """Begins to copy a layer; its blocks, and the mark of their end."""
        if self.stream is None:
            return fetched(self.layers[layer]), None
        with torch.cuda.stream(self.stream):
            return fetched(self.layers[layer]), self.stream.record_event()


def fetched(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """A layer's blocks on their device."""
    return tuple(block.fetched() if isinstance(block, HostBlock) else block for block in blocks)
