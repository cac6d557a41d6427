"""Keys and values in eight bits: a block of codes and scales, decoded layer by layer as it is read.

Each vector of an entry's head is coded alone, so coding commutes with eviction, moving and saving.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.block import Block, Choice, Places, joined_block, take
from vxl.llm.rope import Rotary

LARGEST = 127


def code(x: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, int8, and the scale of each vector of the last axis, float32; zero is zero.

    What `decode` gives back differs by half a scale at most, in exact arithmetic.
    """
    scale = x.abs().amax(dim=-1, keepdim=True).float() / LARGEST
    scale = scale.masked_fill(scale == 0, 1.0)
    return (x.float() / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale


def decode(codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The vectors of codes."""
    return (codes.float() * scale).to(dtype)


class CodedBlock(Block):
    """A block whose keys and values are codes; reading them decodes all of it.

    Rotated keys are not remembered beside them: that would eat the gain.
    """

    def __init__(
        self,
        keys: tuple[Tensor, Tensor],
        values: tuple[Tensor, Tensor],
        places: Places,
        dtype: torch.dtype,
    ) -> None:
        known = {"keys": keys, "values": values, "dtype": dtype, "rotated_BNSH": None}
        for name, value in (known | places._asdict()).items():
            object.__setattr__(self, name, value)  # blocks are frozen

    keys: tuple[Tensor, Tensor]
    values: tuple[Tensor, Tensor]
    dtype: torch.dtype

    @classmethod
    def of(cls, block: Block) -> "CodedBlock":
        """A block, coded."""
        places = Places(block.positions_BNS, block.index_BNS, block.valid_BNS)
        return cls(code(block.keys_BNSH), code(block.values_BNSH), places, block.keys_BNSH.dtype)

    @classmethod
    def of_several(cls, blocks: Sequence["CodedBlock"], places: Places) -> "CodedBlock":
        """One block of the entries of several; `places` are theirs."""
        keys = (torch.cat([b.keys[0] for b in blocks], dim=2), torch.cat([b.keys[1] for b in blocks], dim=2))
        values = (
            torch.cat([b.values[0] for b in blocks], dim=2),
            torch.cat([b.values[1] for b in blocks], dim=2),
        )
        return cls(keys, values, places, blocks[0].dtype)

    @property
    def keys_BNSH(self) -> Tensor:
        """Un-rotated keys, decoded."""
        return decode(*self.keys, self.dtype)

    @property
    def values_BNSH(self) -> Tensor:
        """Values, decoded."""
        return decode(*self.values, self.dtype)

    @override
    def __len__(self) -> int:
        return self.keys[0].shape[2]

    @property
    @override
    def rows(self) -> int:
        return len(self.keys[0])

    @property
    def places(self) -> Places:
        """Where the entries stand."""
        return Places(self.positions_BNS, self.index_BNS, self.valid_BNS)

    @override
    def plain(self) -> Block:
        return Block(self.keys_BNSH, self.values_BNSH, *self.places)

    @override
    def tensors(self) -> Iterator[Tensor]:
        yield from (*self.keys, *self.values, self.positions_BNS, self.index_BNS)
        if self.valid_BNS is not None:
            yield self.valid_BNS

    @override
    def chosen(self, choice: Choice) -> Block:
        order = choice.order_BNS
        keys = (take(self.keys[0], order), take(self.keys[1], order))
        values = (take(self.values[0], order), take(self.values[1], order))
        places = Places(choice.positions_BNS, choice.index_BNS, choice.valid_BNS)
        return CodedBlock(keys, values, places, self.dtype)

    @override
    def at(self, positions_BNS: Tensor, rotary: Rotary) -> Block:
        places = Places(positions_BNS, self.index_BNS, self.valid_BNS)
        return CodedBlock(self.keys, self.values, places, self.dtype)

    @override
    def detached(self) -> Block:
        return self

    @override
    def moved(self, move: Callable[[Tensor], Tensor]) -> Block:
        keys = (move(self.keys[0]), move(self.keys[1]))
        values = (move(self.values[0]), move(self.values[1]))
        valid = None if self.valid_BNS is None else move(self.valid_BNS)
        places = Places(move(self.positions_BNS), move(self.index_BNS), valid)
        return CodedBlock(keys, values, places, self.dtype)


def code_layers(layers: list[tuple[Block, ...]]) -> None:
    """Codes the blocks of each layer, one layer at a time; codes stay as they are."""
    for layer, blocks in enumerate(layers):
        layers[layer] = tuple(b if isinstance(b, CodedBlock) else CodedBlock.of(b) for b in blocks)


def joined_coded(blocks: Sequence[Block], places: Places) -> Block:
    """One block of the entries of several, of which all are coded or none; `places` are theirs."""
    codes = [block for block in blocks if isinstance(block, CodedBlock)]
    return CodedBlock.of_several(codes, places) if codes else joined_block(blocks, places)
