"""Which entries of a cache stay, worked out for all layers together and put into one block a layer.

Layers whose entries have one shape are counted and ordered in one go, and the host waits for the device once
for all of them. Where a GPU's kernels take them, keys and values are read once and written once, whatever
blocks they lie in.

Letters: L layers · B rows · N key-value heads (1 where all agree) · S entries · V that stay.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from vxl.llm.attention.chosen import places_where
from vxl.llm.block import Block, Choice, Places, choose, places_of
from vxl.llm.cache.holding import in_one
from vxl.llm.cache.host import HostBlock
from vxl.llm.kernels import HALF, installed
from vxl.llm.memo import IdentityMemo


def one_kind(layers: Sequence[tuple[Block, ...]]) -> bool:
    """Whether the blocks of each layer can be one where they are: coded alike, and all of as many rows."""
    kinds = [{(type(block), block.coding, block.rows) for block in blocks} for blocks in layers]
    return all(len(own) <= 1 and not any(kind[0] is HostBlock for kind in own) for own in kinds)


def evicted(
    layers: Sequence[tuple[Block, ...]], keep: Sequence[Tensor]
) -> Iterator[tuple[int, tuple[Block, ...]]]:
    """(layer, what is left of it) of each layer that loses entries, in order; see `Cache.keep`.

    Each is made when it is asked for, so that a layer's memory can be freed before the next one's is taken.
    """
    choices: dict[int, Choice] = {}
    groups = list(shaped(layers, keep))
    counts = [masks_LBNS.sum(dim=-1).flatten(1) for _, masks_LBNS, _ in groups]
    bounds = [torch.stack((count.amin(dim=1), count.amax(dim=1)), dim=1) for count in counts]
    every = torch.cat(bounds).tolist() if bounds else []
    for group, masks_LBNS, places in groups:
        mine, every = every[: len(masks_LBNS)], every[len(masks_LBNS) :]
        entries = masks_LBNS.shape[-1]
        if all(least == entries for least, _ in mine):
            continue
        order_LBNV, count_LBN = places_where(masks_LBNS, max(most for _, most in mine))
        positions, index = (
            at(torch.stack(x), order_LBNV) for x in zip(*(p[:2] for p in places), strict=True)
        )
        for number, same in enumerate(group):
            least, most = mine[number]
            if least == entries:
                continue
            order, own_positions, own_index = (
                x[number][..., :most].contiguous() for x in (order_LBNV, positions, index)
            )
            valid = None
            if least < most:
                valid = torch.arange(most, device=order.device) < count_LBN[number][..., None]
            choice = Choice(order, own_positions, own_index, valid)
            choices |= dict.fromkeys(same, choice)
    for layer in sorted(choices):
        block = chosen_of(layers[layer], choices[layer])
        yield layer, (block,) if len(block) else ()


def block_by_block(
    layers: Sequence[tuple[Block, ...]], keep: Sequence[Tensor]
) -> Iterator[tuple[int, tuple[Block, ...]]]:
    """(layer, what is left of it) of each layer; blocks that lose nothing stay as they are, and shared.

    Layers mostly agree on positions: each choice is made once. The memo holds masks and positions but no
    block, so that a layer's memory is freed before the next one's is made.
    """
    choices = IdentityMemo[Choice | None]()
    for layer, blocks in enumerate(layers):
        mask, start = keep[layer], 0
        layer_blocks: list[Block] = []
        for block in blocks:
            part = mask[..., start : start + len(block)]
            tensors = (mask, start, block.positions_BNS, block.valid_BNS)
            choice = choices.get(tensors, partial(choose, block, part))
            layer_blocks.append(block if choice is None else block.chosen(choice))
            start += len(block)
        yield layer, tuple(block for block in layer_blocks if len(block))


def shaped(
    layers: Sequence[tuple[Block, ...]], keep: Sequence[Tensor]
) -> Iterator[tuple[list[list[int]], Tensor, list[Places]]]:
    """Layers in groups of one shape: (for each of a group the layers that it stands for, since they share the
    very same tensors; the masks of what stays; where the entries stand)."""
    same: dict[tuple[int, ...], list[int]] = {}
    for layer, blocks in enumerate(layers):
        if blocks:
            tensors = (t for b in blocks for t in (b.positions_BNS, b.index_BNS, b.valid_BNS))
            same.setdefault((id(keep[layer]), *map(id, tensors)), []).append(layer)
    shapes: dict[object, list[tuple[list[int], Tensor, Places]]] = {}
    for numbers in same.values():
        places, mask_BNS = places_of(layers[numbers[0]]), keep[numbers[0]]
        if places.valid_BNS is not None:
            mask_BNS = mask_BNS & places.valid_BNS
        shapes.setdefault((mask_BNS.shape, places.index_BNS.shape), []).append((numbers, mask_BNS, places))
    for members in shapes.values():
        yield (
            [numbers for numbers, _, _ in members],
            torch.stack([mask_BNS for _, mask_BNS, _ in members]),
            [places for _, _, places in members],
        )


def at(tensor_LBNS: Tensor, order_LBNV: Tensor) -> Tensor:
    """Entries along the last axis; rows and heads of either broadcast."""
    rows, heads = (max(tensor_LBNS.shape[axis], order_LBNV.shape[axis]) for axis in (1, 2))
    order = order_LBNV.expand(-1, rows, heads, -1).long()
    return tensor_LBNS.expand(-1, rows, heads, -1).gather(-1, order)


def chosen_to(blocks: Sequence[Block], order_BNV: Tensor) -> Choice:
    """The choice of entries of several blocks, where every head keeps as many and all of them exist.

    Args:
        blocks: None has entries that do not exist.
        order_BNV: Which entries stay, counted through the blocks, int32.
    """
    positions, index = [b.positions_BNS for b in blocks], [b.index_BNS for b in blocks]
    if order_BNV.is_cuda and len(order_BNV) == 1 and len(blocks) <= 2 and installed():
        from vxl.llm.kernels.entries import places_taken  # late: Triton, which only GPUs need

        return Choice(order_BNV, *places_taken(positions, index, order_BNV), None)
    places = places_of(blocks)
    rows_of_choice = (
        at(tensor[None], order_BNV[None])[0] for tensor in (places.positions_BNS, places.index_BNS)
    )
    return Choice(order_BNV, *rows_of_choice, None)


def chosen_of(blocks: Sequence[Block], choice: Choice) -> Block:
    """One block of the chosen entries of several."""
    keys = blocks[0].keys_BNSH if type(blocks[0]) is Block else None
    if (
        keys is not None
        and keys.is_cuda
        and keys.dtype in HALF
        and not keys.requires_grad
        and len(blocks) <= 2
        and all(block.rotated_BNSH is None for block in blocks)
        and installed()
    ):
        from vxl.llm.kernels.entries import taken  # late: Triton, which only GPUs need

        rows = max(blocks[0].rows, len(choice.order_BNS))
        sources = [b.keys_BNSH for b in blocks], [b.values_BNSH for b in blocks]
        new_keys, values = taken(*sources, choice.order_BNS, rows=rows)
        assert values is not None
        return Block(new_keys, values, *choice[1:])
    whole = blocks[0] if len(blocks) == 1 else in_one(blocks, places_of(blocks))
    return whole.chosen(choice._replace(order_BNS=choice.order_BNS.long()))
