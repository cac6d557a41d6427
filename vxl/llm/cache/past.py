"""A cache's layers as one pass reads them: a layer's blocks are made when the pass comes to it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from vxl.llm.block import Block


class Past(Sequence[tuple[Block, ...]]):
    """The blocks of each layer; read one layer after the other, each once."""

    @abstractmethod
    def blocks(self, layer: int) -> tuple[Block, ...]:
        """A layer's blocks."""

    @overload
    def __getitem__(self, layer: int) -> tuple[Block, ...]: ...
    @overload
    def __getitem__(self, layer: slice) -> Sequence[tuple[Block, ...]]: ...
    def __getitem__(self, layer: int | slice) -> tuple[Block, ...] | Sequence[tuple[Block, ...]]:
        assert isinstance(layer, int)
        return self.blocks(layer)
