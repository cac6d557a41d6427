"""Keys and values in codes: a block that is decoded layer by layer as it is read.

With eight bits each vector is coded alone. With four, values are coded entry by entry and keys channel by
channel over runs of entries; an entry keeps its run's scales when others go. So in both cases evicting,
moving and saving change no number.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.block import Block, Choice, Places
from vxl.llm.cache.codes import ChannelCodes, Codes, EntryCodes, VectorCodes
from vxl.llm.rope import Rotary


class CodedBlock(Block):
    """A block whose keys and values are codes; reading them decodes all of it.

    Rotated keys are not remembered beside them: that would eat the gain.
    """

    def __init__(self, keys: Codes, values: Codes, places: Places, dtype: torch.dtype) -> None:
        fields = {"keys": keys, "values": values, "read_as": dtype, "rotated_BNSH": None}
        for name, value in (fields | places._asdict()).items():
            object.__setattr__(self, name, value)  # blocks are frozen

    keys: Codes
    values: Codes
    read_as: torch.dtype

    @classmethod
    def of(cls, block: Block, run: int | None = None) -> "CodedBlock":
        """A block, coded in eight bits; or in four, with keys in runs of so many entries."""
        keys, values = block.keys_BNSH, block.values_BNSH
        if run is None:
            return cls(VectorCodes.of(keys), VectorCodes.of(values), block.places, keys.dtype)
        codes = ChannelCodes.of(keys, run, block.valid_BNS)
        return cls(codes, EntryCodes.of(values), block.places, keys.dtype)

    @classmethod
    def of_several(cls, blocks: Sequence["CodedBlock"], places: Places) -> "CodedBlock":
        """One block of the entries of several that are coded alike; `places` are theirs."""
        kind = type(blocks[0].keys), type(blocks[0].values)
        keys, values = kind[0].joined([b.keys for b in blocks]), kind[1].joined([b.values for b in blocks])
        return cls(keys, values, places, blocks[0].read_as)

    @property
    def keys_BNSH(self) -> Tensor:
        """Un-rotated keys, decoded."""
        return self.keys.decode(self.read_as)

    @property
    def values_BNSH(self) -> Tensor:
        """Values, decoded."""
        return self.values.decode(self.read_as)

    @property
    @override
    def shape(self) -> tuple[int, int, int, int]:
        return self.keys.shape

    @property
    @override
    def dtype(self) -> torch.dtype:
        return self.read_as

    @property
    @override
    def shared_bytes(self) -> int:
        return self.keys.shared_bytes + self.values.shared_bytes

    @property
    @override
    def coding(self) -> type | None:
        return type(self.keys)

    @override
    def plain(self) -> Block:
        return Block(self.keys_BNSH, self.values_BNSH, *self.places)

    @override
    def tensors(self) -> Iterator[Tensor]:
        yield from (tensor for codes in (self.keys, self.values) for _, tensor in codes.named())
        yield from (tensor for tensor in self.places if tensor is not None)

    @override
    def chosen(self, choice: Choice) -> Block:
        parts = (codes.taken(choice.order_BNS, choice.valid_BNS) for codes in (self.keys, self.values))
        places = Places(choice.positions_BNS, choice.index_BNS, choice.valid_BNS)
        return CodedBlock(*parts, places, self.read_as)

    @override
    def standing(self, places: Places) -> Block:
        return CodedBlock(self.keys, self.values, places, self.read_as)

    @override
    def at(self, positions_BNS: Tensor, rotary: Rotary) -> Block:
        return self.standing(self.places._replace(positions_BNS=positions_BNS))

    @override
    def detached(self) -> Block:
        return self

    @override
    def with_wide(self, move: Callable[[Tensor], Tensor]) -> Block:
        return CodedBlock(self.keys.moved(move), self.values.moved(move), self.places, self.read_as)
