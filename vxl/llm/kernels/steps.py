"""From a step and a cache to runs of keys: how chunks, questions and tokens use the kernel of `ranges`.

Most of the past is read where it lies. What is copied is small: a chunk's text and time text, and the few
chunks before it. Keys of the past are rotated when they are read, layer by layer, and not kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vxl.llm.attention.chosen import visible
from vxl.llm.attention.step import Step
from vxl.llm.attention.windows import Sight
from vxl.llm.block import Block, Places, places_of
from vxl.llm.kernels import WIDTHS, usable
from vxl.llm.kernels.entries import taken
from vxl.llm.kernels.pointwise import rotated
from vxl.llm.kernels.ranges import Tiles, attend_ranges, tile
from vxl.llm.memo import IdentityMemo

TILE = 128
SMALL = 64
"""Places of a tile where a single chunk must fill the GPU."""
FEW = 16
"""Places of the smallest tile: so many, and keys are rotated by the kernel that reads them."""
QUESTION = 512
"""Longest continuation without windows that goes this way; longer ones have work for PyTorch's kernels."""
PROGRAMS = 528
"""Four for each multiprocessor of an H100: a long run of keys is split among so many."""
LEAST = 256
"""Keys that a program should have at least."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What one step does in every layer."""

    shift: int
    """Entries of the past in front of the new tokens in the second run: the windows' chunks."""
    carried_past: Tensor
    """Entries of the past that later windows always see."""
    carried_new: Tensor
    """New tokens that later windows always see."""
    windowed: Tiles | None
    """Tokens that see what is carried, and their window."""
    whole: Tiles | None
    """Tokens that see all of the past."""
    whole_T: Tensor | None
    """Which tokens those are; None = all."""
    splits: int


def suits(query: Tensor, past: tuple[Block, ...], step: Step) -> bool:
    """Whether the kernel can do a step: no padding, rows that see alike."""
    if not usable(query) or query.shape[3] not in WIDTHS or step.valid_BT is not None:
        return False
    if any(len(b.keys_BNSH) not in (1, len(query)) for b in past):
        return False
    if step.windows is None:
        return bool(past) and query.shape[2] <= QUESTION and intact(past)
    if len(step.windows.rows) > 1:
        return False
    if intact(past) and sum(map(len, past)) == step.windows.first:
        return True
    # Windows that begin among the new tokens would need a mask of their own where the past is not whole.
    sights = step.windows.rows[0].sights
    return bool(past) and all(s.since <= step.windows.first and s.begin == 0 for s in sights)


def intact(past: Sequence[Block]) -> bool:
    """Whether every row and head of a past has all of its entries, at the same positions."""
    return all(block.valid_BNS is None and block.positions_BNS.shape[1] == 1 for block in past)


def attend_step(
    layer: int,
    past: tuple[Block, ...],
    query: Tensor,
    rotated_key: Tensor,
    value: Tensor,
    scaling: float | None,
    step: Step,
) -> Tensor:
    """Attention of one layer's new tokens.

    Args:
        layer: Whose.
        past: Blocks of the layer's cache.
        query: [B, query heads, T, H], rotated.
        rotated_key: [B, N, T, H], the new keys, rotated.
        value: [B, N, T, H].
        scaling: Factor on the scores.
        step: The pass.

    Returns:
        [B, T, query heads, H].
    """
    windows = step.windows
    if windows is not None and not (intact(past) and sum(map(len, past)) == windows.first):
        return attend_chosen(layer, past, query, rotated_key, value, scaling, step)
    if len(past) > 1 and windows is not None:
        past = (one(past, step),)
    most = max(range(len(past)), key=lambda i: len(past[i]), default=None)
    main = None if most is None else past[most]
    others = [block for i, block in enumerate(past) if i != most]
    key = ("plan", *map(len, past))
    if key not in step.scratch:
        step.scratch[key] = plan_of(query, rotated_key.shape[1], main, sum(map(len, others)), step)
    plan: Plan = step.scratch[key]
    rows, query_heads, tokens, width = query.shape
    out = query.new_empty(rows, tokens, query_heads, width)
    b_keys, b_values = [rotated_key], [value]
    for block in others:
        b_keys.insert(0, rotated_keys(block, step))
        b_values.insert(0, block.values_BNSH)
    if main is not None and step.windows is not None and plan.shift:
        start = len(main) - plan.shift
        b_keys.insert(0, rotated_keys(main, step, slice(start, None)))
        b_values.insert(0, main.values_BNSH[:, :, start:])
    b = end_to_end(b_keys, rows), end_to_end(b_values, rows)
    if plan.windowed is not None:
        a_keys, a_values = [rotated_key[:, :, plan.carried_new]], [value[:, :, plan.carried_new]]
        if main is not None:
            a_keys.insert(0, rotated_keys(main, step, plan.carried_past))
            a_values.insert(0, main.values_BNSH.index_select(2, plan.carried_past))
        a = end_to_end(a_keys, rows), end_to_end(a_values, rows)
        attend_ranges(query, a, b, plan.windowed, scaling, out=out)
    if plan.whole is None:
        return out
    if plan.whole_T is not None:
        query = query.index_select(2, plan.whole_T)
    if main is None:
        return put(out, attend_ranges(query, b, b, plan.whole, scaling), plan.whole_T)
    angles = None
    if plan.whole.size == FEW and main.rotated_BNSH is None:
        keys, angles = main.keys_BNSH, half_angles(main, step, query.dtype)
    else:
        keys = rotated_keys(main, step)
    whole = attend_ranges(
        query, (keys, main.values_BNSH), b, plan.whole, scaling, splits=plan.splits, angles=angles
    )
    return put(out, whole, plan.whole_T)


def attend_chosen(
    layer: int,
    past: tuple[Block, ...],
    query: Tensor,
    rotated_key: Tensor,
    value: Tensor,
    scaling: float | None,
    step: Step,
) -> Tensor:
    """Attention over what a policy has left of the past, head by head: what is seen of it is gathered and
    rotated on the way, and is the first run of keys; the new tokens are the second. See `attend_step`."""
    assert step.windows is not None
    block = past[0] if len(past) == 1 else one(past, step)
    rows, query_heads, tokens, width = query.shape
    out = query.new_empty(rows, tokens, query_heads, width)
    table = None
    if block.rotated_BNSH is None:
        table = step.rotary.table(step.windows.first + tokens, query.device, query.dtype)
    for sight in step.windows.rows[0].sights:
        places = visible(step, layer, past, sight)
        order = count = None
        if places is not None:
            order, count = places.order_BNV, places.count_BN
        stop = len(block) if places is None else 0
        of_sights: IdentityMemo[Tiles] = step.scratch.setdefault("tiles", IdentityMemo())
        runs = [(sight.tokens_Q, sight.tokens_Q, stop, 0)]
        shared, device = query_heads // rotated_key.shape[1], query.device
        tiles = of_sights.get((sight, stop), partial(tile, runs, 0, shared, SMALL, device))
        keys = block.keys_BNSH if block.rotated_BNSH is None else block.rotated_BNSH
        a_keys, a_values = taken(
            [keys],
            None if order is None else [block.values_BNSH],
            order,
            rows=len(keys) if order is None else max(len(keys), len(order)),
            count_BN=count,
            positions_BNS=block.positions_BNS,
            table=table,
        )
        attend_ranges(
            query,
            (a_keys, block.values_BNSH if a_values is None else a_values),
            (rotated_key, value),
            tiles,
            scaling,
            counts_BN=count,
            out=out,
        )
    return out


def plan_of(query: Tensor, heads: int, main: Block | None, others: int, step: Step) -> Plan:
    """Sorts a step's tokens into those with a window and those that see everything."""
    rows, query_heads, tokens, _ = query.shape
    device, group = query.device, query_heads // heads
    every_T = np.arange(tokens)
    windows = step.windows
    sights = (Sight(every_T, 0),) if windows is None else windows.rows[0].sights
    always_A = np.empty(0, np.int64) if windows is None else windows.rows[0].always_A
    first = others if windows is None else windows.first
    windowed = [sight for sight in sights if sight.since > 0]
    whole = [sight for sight in sights if sight.since == 0]
    start = min([first, *(sight.since for sight in windowed)])
    shift = others if windows is None else first - start
    stops = [int(np.searchsorted(always_A, sight.since)) for sight in windowed]
    always_past = always_A[: max(stops, default=0)]
    runs = [
        (sight.tokens_Q, sight.tokens_Q, stop, sight.since - start)
        for sight, stop in zip(windowed, stops, strict=True)
    ]
    tiles = tile(runs, shift, group, TILE, device) if runs else None
    whole_tiles, whole_T, splits = None, None, 1
    if whole:
        column_Q = np.sort(np.concatenate([sight.tokens_Q for sight in whole]))
        size = FEW if group * len(column_Q) <= FEW else TILE
        keys = 0 if main is None else len(main)
        b_start = 0 if windows is None else shift
        whole_run = (np.arange(len(column_Q)), column_Q, keys, b_start)
        whole_tiles = tile([whole_run], shift, group, size, device)
        splits = min(PROGRAMS // (whole_tiles.count * heads * rows), keys // LEAST)
        splits = 1 if splits < 2 else splits + 1
        if len(column_Q) < tokens:
            whole_T = torch.from_numpy(column_Q).to(device)
    past, new = always_past[always_past < first], always_past[always_past >= first] - first
    send = [torch.from_numpy(x).to(device) for x in (past, new)]
    return Plan(shift, send[0], send[1], tiles, whole_tiles, whole_T, splits)


def rotated_keys(block: Block, step: Step, which: slice | Tensor = slice(None)) -> Tensor:
    """Keys of a block, or some of them, at their positions."""
    take = which if isinstance(which, slice) else None
    if block.rotated_BNSH is not None:
        return block.rotated_BNSH[:, :, take] if take else block.rotated_BNSH.index_select(2, which)
    cos, sin = half_angles(block, step, block.keys_BNSH.dtype)
    if take:
        return rotated(block.keys_BNSH[:, :, take], cos[:, take].contiguous(), sin[:, take].contiguous())
    keys = block.keys_BNSH.index_select(2, which)
    return rotated(keys, cos.index_select(1, which), sin.index_select(1, which), out=keys)


def keys_behind(past: Sequence[Block], new_keys: Tensor, step: Step) -> Tensor:
    """The past's keys at their positions, on which all heads agree, with the new ones behind them."""
    rows, heads, tokens, width = new_keys.shape
    keys = new_keys.new_empty(rows, heads, sum(map(len, past)) + tokens, width)
    *parts, last = keys.split([*map(len, past), tokens], dim=2)
    for block, part in zip(past, parts, strict=True):
        if block.rotated_BNSH is not None:
            part.copy_(block.rotated_BNSH)
        else:
            rotated(block.keys_BNSH, *half_angles(block, step, part.dtype), out=part)
    last.copy_(new_keys)
    return keys


def half_angles(block: Block, step: Step, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of a block's positions [B or 1, S, H / 2], for all layers that hold it."""
    angles: IdentityMemo[tuple[Tensor, Tensor]] = step.scratch.setdefault("angles", IdentityMemo())
    positions_BS = block.positions_BNS[: len(block.keys_BNSH), 0]
    return angles.get((block.positions_BNS,), lambda: step.rotary.half_angles(positions_BS, dtype))


def one(blocks: tuple[Block, ...], step: Step) -> Block:
    """Several blocks as one, for the time of a layer."""
    rows = max(len(block.keys_BNSH) for block in blocks)
    keys = [block.keys_BNSH.expand(rows, -1, -1, -1) for block in blocks]
    values = [block.values_BNSH.expand(rows, -1, -1, -1) for block in blocks]
    memo: IdentityMemo[Places] = step.scratch.setdefault("one", IdentityMemo())
    tensors = (tensor for b in blocks for tensor in (b.positions_BNS, b.index_BNS, b.valid_BNS))
    places = memo.get(tuple(tensors), partial(places_of, blocks))
    rotated_BNSH = None
    if all(block.rotated_BNSH is not None for block in blocks):
        turned_keys = [block.rotated_BNSH for block in blocks if block.rotated_BNSH is not None]
        rotated_BNSH = torch.cat([keys.expand(rows, -1, -1, -1) for keys in turned_keys], dim=2)
    return Block(torch.cat(keys, dim=2), torch.cat(values, dim=2), *places, rotated_BNSH)


def end_to_end(parts: list[Tensor], rows: int) -> Tensor:
    """Parts one behind the other, for all rows."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part.expand(rows, -1, -1, -1) for part in parts], dim=2)


def put(out: Tensor, part: Tensor, tokens_T: Tensor | None) -> Tensor:
    """Some tokens' attention among all tokens'."""
    return part if tokens_T is None else out.index_copy_(1, tokens_T, part)
