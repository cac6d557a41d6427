"""The past as new tokens read it: its blocks joined with the new keys and values, or one row of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vxl.llm.attention.step import Step
from vxl.llm.block import Block
from vxl.llm.kernels import usable
from vxl.llm.rope import rotate


def keys_and_values(past: Sequence[Block], key: Tensor, value: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """The past's rotated keys and its values, with the new ones behind them."""
    values = torch.cat([*(block.values_BNSH for block in past), value], dim=2)
    if usable(key) and all(block.positions_BNS.shape[1] == 1 for block in past):
        from vxl.llm.kernels import steps  # late: Triton, which only GPUs need

        return steps.keys_behind(past, key, step), values
    rotated_keys = [block.rotated_BNSH for block in past if block.rotated_BNSH is not None]
    if len(rotated_keys) < len(
        past
    ):  # all together: one by one, many short blocks take longer than their windows
        rotated_keys = [rotate(torch.cat([block.keys_BNSH for block in past], dim=2), *angles_of(past, step))]
    return torch.cat([*rotated_keys, key], dim=2), values


def angles_of(past: Sequence[Block], step: Step) -> tuple[Tensor, Tensor]:
    """Cosine and sine of all entries of some blocks, [B, N or 1, S, H]; kept for the next layer."""
    positions = [block.positions_BNS for block in past]
    earlier, angles = step.scratch.get("past", ((), None))
    if len(earlier) != len(positions) or any(a is not b for a, b in zip(earlier, positions, strict=True)):
        rows, heads = (max(position.shape[axis] for position in positions) for axis in (0, 1))
        every_BNS = torch.cat([position.expand(rows, heads, -1) for position in positions], dim=-1)
        angles = step.rotary.angles(every_BNS, past[0].keys_BNSH.dtype)
        step.scratch["past"] = positions, angles
    return angles


def visible(past: Sequence[Block], tokens: int) -> Tensor | None:
    """Which of the keys exist where heads keep different ones, [1, N, S]; None = all."""
    masks = [block.valid_BNS for block in past]
    if all(mask is None for mask in masks):
        return None
    some = next(mask for mask in masks if mask is not None)
    there = [
        some.new_ones(1, some.shape[1], len(block)) if mask is None else mask
        for block, mask in zip(past, masks, strict=True)
    ]
    return torch.cat([*there, some.new_ones(1, some.shape[1], tokens)], dim=-1)


def of_row(block: Block, row: int) -> Block:
    """One row of a block; without its invalid entries where all heads agree on them."""

    def pick(tensor: Tensor) -> Tensor:
        return tensor[row if tensor.shape[0] > 1 else 0][None]

    valid = None if block.valid_BNS is None else pick(block.valid_BNS)
    tensors = [
        pick(block.keys_BNSH),
        pick(block.values_BNSH),
        pick(block.positions_BNS),
        pick(block.index_BNS),
    ]
    rotated_BNSH = None if block.rotated_BNSH is None else pick(block.rotated_BNSH)
    if valid is None or bool(valid.all()):
        return Block(*tensors, None, rotated_BNSH)
    if valid.shape[1] > 1:
        return Block(*tensors, valid, rotated_BNSH)
    there = valid[0, 0].nonzero()[:, 0]
    tensors = [tensor.index_select(2, there) for tensor in tensors]
    return Block(*tensors, None, None if rotated_BNSH is None else rotated_BNSH.index_select(2, there))
