"""A run of cache entries of one layer; immutable, so that any number of caches may share it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from vxl.llm.rope import Rotary


class Choice(NamedTuple):
    """Entries of a block that stay: in which order, where they stand, which of them exist (None = all)."""

    order_BNS: Tensor
    positions_BNS: Tensor
    index_BNS: Tensor
    valid_BNS: Tensor | None


@dataclass(frozen=True, eq=False)
class Block:
    """Keys, values and where they stand. Axis N of the small tensors is 1 where all heads agree.

    One row stands for all rows of a cache whose rows share the block.
    """

    keys_BNSH: Tensor
    """Un-rotated keys (after the model's own key norm, if it has one)."""
    values_BNSH: Tensor
    positions_BNS: Tensor
    """Rotary positions, int64."""
    index_BNS: Tensor
    """Which token of the sequence, counted in the order of feeding, an entry comes from."""
    valid_BNS: Tensor | None = None
    """Entries that exist; None = all. Rows and heads may keep different numbers."""
    rotated_BNSH: Tensor | None = None
    """Keys at their positions, remembered for decoding."""

    def __len__(self) -> int:
        return self.shape[2]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Rows, heads, entries and width, without reading anything."""
        rows, heads, entries, width = self.keys_BNSH.shape
        return rows, heads, entries, width

    @property
    def rows(self) -> int:
        """Rows that it has: 1 where one stands for all of a cache."""
        return self.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values as they are read."""
        return self.keys_BNSH.dtype

    @property
    def coding(self) -> type | None:
        """How keys are coded; None = not at all."""
        return None

    @property
    def shared_bytes(self) -> int:
        """Of scales that entries share, in each row."""
        return 0

    @property
    def places(self) -> "Places":
        """Where its entries stand."""
        return Places(self.positions_BNS, self.index_BNS, self.valid_BNS)

    def plain(self) -> "Block":
        """The block with keys and values as they are read."""
        return self

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of the block."""
        for field in fields(self):
            tensor = getattr(self, field.name)
            if tensor is not None:
                yield tensor

    def chosen(self, choice: Choice) -> "Block":
        """A block of the chosen entries alone."""
        return Block(
            take(self.keys_BNSH, choice.order_BNS),
            take(self.values_BNSH, choice.order_BNS),
            choice.positions_BNS,
            choice.index_BNS,
            choice.valid_BNS,
            None if self.rotated_BNSH is None else take(self.rotated_BNSH, choice.order_BNS),
        )

    def at(self, positions_BNS: Tensor, rotary: Rotary) -> "Block":
        """The block with its entries moved to other positions, rotated anew from the un-rotated keys."""
        rotated_BNSH = None if self.rotated_BNSH is None else rotary.turn(self.keys_BNSH, positions_BNS)
        return replace(self, positions_BNS=positions_BNS, rotated_BNSH=rotated_BNSH)

    def detached(self) -> "Block":
        """The block outside of the graph."""
        rotated_BNSH = None if self.rotated_BNSH is None else self.rotated_BNSH.detach()
        keys, values = self.keys_BNSH.detach(), self.values_BNSH.detach()
        return replace(self, keys_BNSH=keys, values_BNSH=values, rotated_BNSH=rotated_BNSH)

    def standing(self, places: "Places") -> "Block":
        """The block with the same entries described anew; nothing is rotated."""
        return replace(self, **places._asdict())

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Block":
        """The block with every tensor moved."""
        valid = None if self.valid_BNS is None else move(self.valid_BNS)
        places = Places(move(self.positions_BNS), move(self.index_BNS), valid)
        block = self.with_wide(move).standing(places)
        if self.rotated_BNSH is None:
            return block
        return replace(block, rotated_BNSH=move(self.rotated_BNSH))

    def with_wide(self, move: Callable[[Tensor], Tensor]) -> "Block":
        """The block with keys and values moved, and where they stand as it is; without rotated keys."""
        keys, values = move(self.keys_BNSH), move(self.values_BNSH)
        return replace(self, keys_BNSH=keys, values_BNSH=values, rotated_BNSH=None)

    def rotated(self, rotary: Rotary) -> Tensor:
        """The keys at their positions."""
        if self.rotated_BNSH is not None:
            return self.rotated_BNSH
        return rotary.turn(self.keys_BNSH, self.positions_BNS)


def choose(block: Block, keep_BNS: Tensor) -> Choice | None:
    """Turns a mask over a block's entries into a choice; None where the block loses nothing.

    Rows and heads that keep fewer entries than others get invalid ones behind theirs.
    """
    valid_BNS = block.valid_BNS
    if valid_BNS is not None:
        keep_BNS = keep_BNS & valid_BNS
    if bool((keep_BNS if valid_BNS is None else keep_BNS == valid_BNS).all()):
        return None
    counts = keep_BNS.sum(dim=-1)
    least, most = int(counts.min()), int(counts.max())
    order = torch.argsort((~keep_BNS).to(torch.uint8), dim=-1, stable=True)[..., :most]
    valid = None if least == most else keep_BNS.gather(-1, order)
    return Choice(order, take(block.positions_BNS, order), take(block.index_BNS, order), valid)


def at_end(block: Block, stays_BT: Tensor) -> Choice:
    """The choice of a block's entries without some of its last T; the others move up to where those stood.

    Args:
        block: One whose positions follow each other.
        stays_BT: bool, in the host's memory.
    """
    rows, tokens = stays_BT.shape
    device = block.positions_BNS.device
    stays_BS = torch.nn.functional.pad(stays_BT, (len(block) - tokens, 0), value=True)
    counts_B = stays_BS.sum(dim=1)
    most = int(counts_B.max())
    order = sent(torch.argsort((~stays_BS).to(torch.uint8), dim=1, stable=True)[:, None, :most], device)
    valid = None
    if int(counts_B.min()) < most:
        valid = sent((torch.arange(most) < counts_B[:, None])[:, None], device)
    positions_BNS = block.positions_BNS.expand(rows, -1, -1)[..., :most]
    return Choice(order, positions_BNS, take(block.index_BNS, order), valid)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A small tensor of the host's on a device, without waiting for what the device is at."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Places(NamedTuple):
    """Where entries stand; layers share these tensors."""

    positions_BNS: Tensor
    index_BNS: Tensor
    valid_BNS: Tensor | None


def places_of(blocks: Sequence[Block]) -> Places:
    """Where the entries of several blocks stand, one behind the other."""
    if len(blocks) == 1:
        return Places(blocks[0].positions_BNS, blocks[0].index_BNS, blocks[0].valid_BNS)
    rows, heads = (max(block.positions_BNS.shape[axis] for block in blocks) for axis in (0, 1))

    def wide(tensors: list[Tensor]) -> Tensor:
        return torch.cat([tensor.expand(rows, heads, -1) for tensor in tensors], dim=-1)

    valid = None
    if any(block.valid_BNS is not None for block in blocks):
        valid = wide(
            [
                torch.ones_like(b.positions_BNS, dtype=torch.bool) if b.valid_BNS is None else b.valid_BNS
                for b in blocks
            ]
        )
    return Places(wide([b.positions_BNS for b in blocks]), wide([b.index_BNS for b in blocks]), valid)


def joined_block(blocks: Sequence[Block], places: Places) -> Block:
    """One block of the entries of several; `places` are theirs."""
    rotated_keys = [block.rotated_BNSH for block in blocks if block.rotated_BNSH is not None]
    return Block(
        torch.cat([block.keys_BNSH for block in blocks], dim=2),
        torch.cat([block.values_BNSH for block in blocks], dim=2),
        *places,
        torch.cat(rotated_keys, dim=2)
        if len(rotated_keys) == len(blocks)
        else None,  # what was away has none
    )


def merged_block(
    blocks: Sequence[Block],
    members_BPR: Tensor,
    order_BM: Tensor,
    places: Places,
    rotary: Rotary,
    *,
    memo: bool,
) -> Block:
    """One block of entries and of means of entries of several; see `Cache.merge`."""
    rows, means, width = members_BPR.shape

    def mixed(parts: list[Tensor]) -> Tensor:
        old_BNSH = torch.cat(parts, dim=2)
        every_BNXH = take(old_BNSH, members_BPR.reshape(rows, 1, means * width))
        mean_BNPH = every_BNXH.unflatten(2, (means, width)).mean(dim=3)
        return take(torch.cat((old_BNSH, mean_BNPH), dim=2), order_BM[:, None])

    keys, values = (
        mixed([block.keys_BNSH for block in blocks]),
        mixed([block.values_BNSH for block in blocks]),
    )
    return Block(keys, values, *places, rotary.turn(keys, places.positions_BNS) if memo else None)


def take(tensor: Tensor, order_BNS: Tensor) -> Tensor:
    """Gathers entries along axis 2 of [B,N,S] or [B,N,S,H]; rows and heads of either broadcast."""
    rows = max(tensor.shape[0], order_BNS.shape[0])
    heads = max(tensor.shape[1], order_BNS.shape[1])
    tensor = tensor.expand(rows, heads, *tensor.shape[2:])
    order = order_BNS.expand(rows, heads, -1)
    if tensor.ndim == 4:
        order = order[..., None].expand(-1, -1, -1, tensor.shape[3])
    return tensor.gather(2, order)


def alone(tensor: Tensor) -> Tensor:
    """The tensor, contiguous and in a storage of its own: a view would keep all that it is a view of."""
    tensor = tensor.contiguous()
    if tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size():
        tensor = tensor.clone()
    return tensor
