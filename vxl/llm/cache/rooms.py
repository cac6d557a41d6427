"""Room for single tokens: storage made ahead, so that decoding appends without copying the past."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vxl.llm.block import Block, alone
from vxl.llm.memo import IdentityMemo


class Room:
    """Storage for a layer's next tokens. Only the cache that made it writes into it: forks open their own."""

    def __init__(self, like: Block, size: int) -> None:
        def empty(tensor: Tensor) -> Tensor:
            rows, heads, _, width = tensor.shape
            return tensor.new_empty(rows, heads, size, width)

        self.size = size
        self.used = 0
        self.keys = empty(like.keys_BNSH)
        self.values = empty(like.values_BNSH)
        self.rotated = None if like.rotated_BNSH is None else empty(like.rotated_BNSH)

    def fits(self, block: Block) -> bool:
        """Whether a block's entries still fit."""
        return self.used + len(block) <= self.size

    def add(self, block: Block, positions_BNS: Tensor, index_BNS: Tensor) -> Block:
        """Writes a block's entries behind those it has.

        Returns:
            The block of all entries of the room, with the given positions and indexes.
        """
        start, self.used = self.used, self.used + len(block)
        self.keys[:, :, start : self.used] = block.keys_BNSH
        self.values[:, :, start : self.used] = block.values_BNSH
        if self.rotated is not None and block.rotated_BNSH is not None:
            self.rotated[:, :, start : self.used] = block.rotated_BNSH
        rotated_BNSH = None if self.rotated is None else self.rotated[:, :, : self.used]
        keys, values = self.keys[:, :, : self.used], self.values[:, :, : self.used]
        return Block(keys, values, positions_BNS, index_BNS, None, rotated_BNSH)


class Rooms:
    """The room of each layer of a cache that new tokens are written into, if it has one."""

    def __init__(self, layers: int) -> None:
        self._rooms: list[Room | None] = [None] * layers

    def close(self, layer: int | None = None) -> None:
        """Writes nothing more into the room of a layer, or of any layer: its last block has changed."""
        for number in range(len(self._rooms)) if layer is None else (layer,):
            self._rooms[number] = None

    def append(
        self,
        layer: int,
        blocks: tuple[Block, ...],
        block: Block,
        size: int,
        memo: IdentityMemo[tuple[Tensor, Tensor]],
    ) -> tuple[Block, ...]:
        """A layer's blocks with one more: in room where it is short and carries no gradient, else as it is.

        Args:
            layer: Whose.
            blocks: What the layer has.
            block: The new entries.
            size: Entries of a room that is made.
            memo: Positions and indexes of rooms that grew in this step, which layers share.
        """
        if 2 * len(block) > size or block.keys_BNSH.requires_grad or block.valid_BNS is not None:
            self.close(layer)
            rotated_BNSH = None if block.rotated_BNSH is None else alone(block.rotated_BNSH)
            keys, values = alone(block.keys_BNSH), alone(block.values_BNSH)
            return (*blocks, replace(block, keys_BNSH=keys, values_BNSH=values, rotated_BNSH=rotated_BNSH))
        room = self._rooms[layer]
        if room is None or not room.fits(block):
            self._rooms[layer] = room = Room(block, size)
            return (*blocks, room.add(block, block.positions_BNS, block.index_BNS))
        last = blocks[-1]
        places = memo.get((last.positions_BNS,), partial(behind, last, block))
        return (*blocks[:-1], room.add(block, *places))


def behind(last: Block, block: Block) -> tuple[Tensor, Tensor]:
    """Positions and indexes of a block's entries with another's behind them."""
    return (
        torch.cat((last.positions_BNS, block.positions_BNS), dim=-1),
        torch.cat((last.index_BNS, block.index_BNS), dim=-1),
    )
