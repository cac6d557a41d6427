"""How the blocks of a layer are held: in few blocks, in codes, on the host."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from vxl.llm.block import Block, Choice, Places, choose, joined_block, places_of
from vxl.llm.cache.coded import CodedBlock
from vxl.llm.cache.host import HostBlock, fetched
from vxl.llm.memo import IdentityMemo


class Shared:
    """What layers that agree on where entries stand work out once."""

    def __init__(self) -> None:
        self.places = IdentityMemo[Places]()
        self.choices = IdentityMemo[tuple[Choice | None, Choice | None]]()


def joined(blocks: tuple[Block, ...], memo: Shared) -> tuple[Block, ...]:
    """A layer's blocks in as few as can be: of all rows and of one row stay apart, and so do codes and
    numbers, and what lies on the host."""
    one: list[Block] = []
    for _, run in groupby(blocks, key=lambda block: (type(block), block.coding, block.rows)):
        parts = tuple(run)
        if len(parts) == 1:
            one += parts
            continue
        tensors = tuple(tensor for block in parts for tensor in block.places)
        places = memo.places.get(tensors, partial(places_of, parts))
        one.append(held_like(parts, lambda own, places=places: in_one(own, places)))
    return tuple(one)


def in_one(blocks: Sequence[Block], places: Places) -> Block:
    """One block of several that are coded alike, or not at all."""
    codes = [block for block in blocks if isinstance(block, CodedBlock)]
    return CodedBlock.of_several(codes, places) if codes else joined_block(blocks, places)


def held_like(blocks: tuple[Block, ...], make: Callable[[tuple[Block, ...]], Block]) -> Block:
    """A block made of others, on the host where any of these is."""
    one = make(fetched(blocks))
    return HostBlock.of(one) if any(isinstance(block, HostBlock) for block in blocks) else one


def coded(blocks: tuple[Block, ...], run: int | None, memo: Shared) -> tuple[Block, ...]:
    """A layer's blocks in codes; those that are stay as they are.

    Args:
        blocks: Of the layer.
        run: None = in eight bits, all of them. Otherwise in four: the numbers at the end in whole runs of so
            many entries of each row and head, of which at least the newest `run` stay as they are.
        memo: Of the layers before.
    """
    if run is None:
        return tuple(b if b.coding else held_like((b,), lambda own: CodedBlock.of(own[0])) for b in blocks)
    first = next((n for n, block in enumerate(blocks) if not block.coding), len(blocks))
    rest = joined(fetched(blocks[first:]), memo)
    if not rest:
        return blocks
    last = rest[-1]  # blocks of one row that all rows share stay before it
    early, late = memo.choices.get((last.positions_BNS, last.valid_BNS), partial(in_runs, last, run))
    if early is None:
        return blocks
    new = CodedBlock.of(last.chosen(early), run)
    return (*blocks[:first], *rest[:-1], new, last if late is None else last.chosen(late))


def in_runs(block: Block, run: int) -> tuple[Choice | None, Choice | None]:
    """The oldest entries of a block in whole runs, at least `run` newer ones behind them, and the others.

    None and None where there are not enough.
    """
    valid_BNS = block.valid_BNS
    if valid_BNS is None:
        valid_BNS = torch.ones_like(block.positions_BNS, dtype=torch.bool)
    count_BN1 = valid_BNS.sum(dim=-1, keepdim=True)
    early_BN1 = (count_BN1 - run).clamp(min=0) // run * run
    early_BNS = valid_BNS & (valid_BNS.long().cumsum(dim=-1) <= early_BN1)
    if not bool(early_BNS.any()):
        return None, None
    return choose(block, early_BNS), choose(block, valid_BNS & ~early_BNS)


def on_host(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """A layer's blocks with their keys and values in the host's memory."""
    return tuple(block if isinstance(block, HostBlock) else HostBlock.of(block) for block in blocks)


def agree(positions_BNS: Tensor, others_BNS: Tensor) -> bool:
    """Whether two tensors that broadcast against each other are equal; waits for a GPU."""
    return bool((positions_BNS == others_BNS).all())
