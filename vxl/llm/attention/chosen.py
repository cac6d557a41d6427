"""Which entries of a past the tokens of a step see, where policies have dropped some: by column, by head.

Found for all layers at once, on the device alone: nothing here waits for it. What each head sees is a list of
places, so that a kernel reads these and no mask over all that is held.

Letters: L layers · B rows · N key-value heads (1 where all agree) · S entries · V the most that a head sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vxl.llm.attention.step import Step
from vxl.llm.attention.windows import Sight, Window
from vxl.llm.block import Block, places_of, sent
from vxl.llm.kernels import LONGEST, installed
from vxl.llm.memo import IdentityMemo


@dataclass(frozen=True, eq=False)
class Visible:
    """What a sight's tokens see of a layer's past."""

    order_BNV: Tensor
    """Places among the layer's entries, ascending, int32; behind a head's last one anything."""
    count_BN: Tensor
    """How many each head sees, int32."""


Found = tuple[dict[int, Visible], IdentityMemo[Visible], list[tuple[Tensor, int]]]
"""Of a sight: what it sees of each layer so far, the same by what it follows from, its columns."""


def visible(step: Step, layer: int, blocks: Sequence[Block], sight: Sight) -> Visible | None:
    """What a sight sees of a layer's past, its `blocks`; None = all of it."""
    assert step.windows is not None
    if sight.since == 0 and all(block.valid_BNS is None for block in blocks):
        return None
    of_sights: IdentityMemo[Found] = step.scratch.setdefault("visible", IdentityMemo())
    layers, memo, table = of_sights.get((sight,), lambda: ({}, IdentityMemo(), []))
    if layer not in layers:
        window, first = step.windows.rows[0], step.windows.first
        if isinstance(step.past, tuple):  # all are there
            layers |= enumerate(of_layers(step.past, window, sight, first))
        else:  # they come one after the other: those that hold the same share it
            tensors = (tensor for block in blocks for tensor in (block.index_BNS, block.valid_BNS))
            layers[layer] = memo.get(
                tuple(tensors), lambda: of_layers([blocks], window, sight, first, table)[0]
            )
    return layers[layer]


def of_layers(
    past: Sequence[Sequence[Block]],
    window: Window,
    sight: Sight,
    first: int,
    tables: list[tuple[Tensor, int]] | None = None,
) -> list[Visible]:
    """What a sight sees in each layer.

    Args:
        past: Each layer's blocks.
        window: Of the row, or of all of them.
        sight: One of the window's, of tokens that see all new tokens before them.
        first: Column of the step's first token.
        tables: Keeps the columns that are seen, and how many, for the next call.
    """
    tables = [] if tables is None else tables
    if not tables:
        sees_F = np.arange(first) >= sight.since
        sees_F[window.always_A[window.always_A < first]] = True
        tables.append((sent(torch.from_numpy(sees_F), past[0][0].index_BNS.device), int(sees_F.sum())))
    table_F, columns = tables[0]
    visible_of: dict[int, Visible] = {}
    for layers, (index_LBNS, valid_LBNS) in places_in_layers(past):
        most = min(index_LBNS.shape[-1], columns)
        if valid_LBNS is None and index_LBNS.is_cuda and index_LBNS.shape[-1] <= LONGEST and installed():
            from vxl.llm.kernels.ranks import seen_places  # late: Triton, which only GPUs need

            order, count = seen_places(index_LBNS.flatten(0, 2), table_F, most)
            order_LBNV = order.view(*index_LBNS.shape[:-1], most)
            count_LBN = count.view(index_LBNS.shape[:-1])
        else:
            seen_LBNS = table_F[index_LBNS]
            if valid_LBNS is not None:
                seen_LBNS = seen_LBNS & valid_LBNS
            order_LBNV, count_LBN = places_where(seen_LBNS, most)
        for number, layer in enumerate(layers):
            share = number if len(order_LBNV) > 1 else 0
            visible_of[layer] = Visible(order_LBNV[share], count_LBN[share])
    return [visible_of[layer] for layer in range(len(past))]


def places_in_layers(
    past: Sequence[Sequence[Block]],
) -> list[tuple[list[int], tuple[Tensor, Tensor | None]]]:
    """Layers whose entries have one shape, each with (index_LBNS, valid_LBNS or None) of them; L is 1 where
    they share the very same tensors."""
    same: dict[tuple[int, ...], list[int]] = {}
    for layer, blocks in enumerate(past):
        same.setdefault(tuple(id(t) for b in blocks for t in (b.index_BNS, b.valid_BNS)), []).append(layer)
    if len(same) == 1:
        places = places_of(past[0])
        return [([*range(len(past))], (places.index_BNS[None], one_more(places.valid_BNS)))]
    shapes: dict[tuple[object, ...], list[int]] = {}
    for layer, blocks in enumerate(past):
        shape = tuple((b.index_BNS.shape, b.valid_BNS is None) for b in blocks)
        shapes.setdefault(shape, []).append(layer)
    groups: list[tuple[list[int], tuple[Tensor, Tensor | None]]] = []
    for layers in shapes.values():
        every = [places_of(past[layer]) for layer in layers]
        index_LBNS = torch.stack([places.index_BNS for places in every])
        valid = [places.valid_BNS for places in every if places.valid_BNS is not None]
        groups.append((layers, (index_LBNS, torch.stack(valid) if valid else None)))
    return groups


def one_more(tensor: Tensor | None) -> Tensor | None:
    """With an axis in front."""
    return None if tensor is None else tensor[None]


def places_where(mask: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(places [..., most] where a mask over the last axis is true, ascending; how many there are), int32.

    Behind the last place stands 0. No sort: places are counted and written where they belong.
    """
    rank = mask.cumsum(dim=-1, dtype=torch.int32)
    at = torch.where(mask, rank - 1, most).clamp(max=most).long()  # one place more takes what is not true
    place = torch.arange(mask.shape[-1], dtype=torch.int32, device=mask.device).expand_as(at)
    order = torch.zeros(*mask.shape[:-1], most + 1, dtype=torch.int32, device=mask.device)
    return order.scatter_(-1, at, place)[..., :most], rank[..., -1]
