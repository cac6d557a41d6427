"""A sliding window beside the first text: each token sees so many tokens up to itself at their distances, and
the first text, as soon as it has left the window, at one distance, whatever lies between them.

So no distance is longer than the window, however long the sequence gets. A mask of new tokens x (window + new
tokens) is made in slices; none is made over everything that came before.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.llm.attention.continuation import MASK
from vxl.llm.attention.joined import keys_and_values, of_row
from vxl.llm.attention.step import Step
from vxl.llm.block import Block, Places
from vxl.llm.memo import IdentityMemo
from vxl.llm.rope import Rotary


def through_sliding(
    layer: int,
    past: tuple[Block, ...],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    step: Step,
) -> Tensor:
    """New tokens behind a cache, row by row; see `vxl.llm.attention.function.through_step`.

    Returns:
        [B, query heads, T, H].
    """
    sliding, new = step.sliding, None if step.new is None else step.new[layer]
    assert sliding is not None
    assert new is not None, "a sliding window is for steps behind a cache"
    rows, tokens = len(query), query.shape[2]
    out = torch.zeros_like(query)
    whole = rows == 1 and all(block.valid_BNS is None for block in past)
    memo: IdentityMemo[Places] = step.scratch.setdefault("near", IdentityMemo())
    lengths = [tokens] * rows if step.valid_BT is None else step.valid_BT.sum(dim=1).tolist()
    for row, length in enumerate(lengths):
        if not length:
            continue
        q, k, v, unrotated = (x[row, None, :, :length] for x in (query, key, value, new.keys_BNTH))
        own = past if whole else [of_row(block, row) for block in past]
        before = sum(map(len, own))
        gone = min(sliding.of(row), max(0, before + length - sliding.window))
        near = keys_and_values(near_past(own, sliding.window, memo), k, v, step)
        far = first_entries(own, unrotated, v, gone)
        rotary, window = step.rotary, sliding.window
        out[row, None, :, :length] = attend_sliding(q, near, far, scaling, window, before, rotary)
    return out


def near_past(past: Sequence[Block], window: int, memo: IdentityMemo[Places]) -> list[Block]:
    """What of a row's past is in the window of the token that comes next or of a later one; no copies.

    Args:
        past: Blocks that have all of their entries.
        window: Tokens that each token sees, its own included.
        memo: Of the step: layers that agree share where entries stand.
    """
    left, near = window - 1, []
    for block in reversed(past):
        if left <= 0:
            break
        near.append(newest(block, left, memo))
        left -= len(block)
    return near[::-1]


def newest(block: Block, count: int, memo: IdentityMemo[Places]) -> Block:
    """The last `count` entries of a block, or all of them."""
    if count >= len(block):
        return block

    def places() -> Places:
        return Places(block.positions_BNS[..., -count:], block.index_BNS[..., -count:], None)

    turned = block.rotated_BNSH
    return Block(
        block.keys_BNSH[:, :, -count:],
        block.values_BNSH[:, :, -count:],
        *memo.get((block.positions_BNS, block.index_BNS, count), places),
        rotated_BNSH=None if turned is None else turned[:, :, -count:],
    )


def first_entries(past: Sequence[Block], key: Tensor, value: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Keys and values of a row's first `count` tokens, [1, N, count, H]; those of the step stand behind the
    past's."""
    parts: list[tuple[Tensor, Tensor]] = []
    for keys, values in (*((block.keys_BNSH, block.values_BNSH) for block in past), (key, value)):
        parts.append((keys[:, :, :count], values[:, :, :count]))
        count -= parts[-1][0].shape[2]
        if not count:
            break
    return torch.cat([keys for keys, _ in parts], dim=2), torch.cat([values for _, values in parts], dim=2)


def attend_sliding(
    query: Tensor,
    near: tuple[Tensor, Tensor],
    far: tuple[Tensor, Tensor],
    scaling: float | None,
    window: int,
    before: int,
    rotary: Rotary,
) -> Tensor:
    """Attention of a row's new tokens.

    Args:
        query: [1, query heads, T, H], rotated to the positions `before`, `before` + 1 and so on.
        near: Keys, rotated, and values of what any of them has in its window, the new tokens' own last;
            [1, N, S, H].
        far: Keys, un-rotated, and values of the first text that is outside of some token's window.
        scaling: Factor on the scores; None = H ** -0.5.
        window: Tokens that each one sees.
        before: Tokens before the first of them.
        rotary: Of the language model.

    Returns:
        [1, query heads, T, H].
    """
    tokens, width, device = query.shape[2], query.shape[3], query.device
    scaling = width**-0.5 if scaling is None else scaling
    count = far[0].shape[2]
    position_T = torch.arange(before, before + tokens, device=device)
    key_S = torch.arange(before + tokens - near[0].shape[2], before + tokens, device=device)
    keys, values = near
    if count:
        # One softmax over both: a query has two halves, and each kind of key meets the half that is turned
        # for it. Turned in float32, since a query that is rotated twice loses twice.
        back_T = (window - position_T).expand(len(query), 1, -1)
        far_query = rotary.turn(query.float() if query.itemsize < 4 else query, back_T).to(query.dtype)
        query = torch.cat((query, far_query), dim=3)
        keys = torch.cat((F.pad(far[0], (width, 0)), F.pad(keys, (0, width))), dim=2)
        values = torch.cat((far[1], values), dim=2)
    if query.is_cuda:  # kernels that take a mask know no grouped heads
        repeats = query.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1)
    first_A = torch.arange(count, device=device)
    parts, size = [], max(1, MASK // keys.shape[2])
    for start in range(0, tokens, size):
        own_Q1 = position_T[start : start + size, None]
        near_QS = (key_S <= own_Q1) & (key_S > own_Q1 - window)
        mask_QS = torch.cat((first_A <= own_Q1 - window, near_QS), dim=1)
        part = query[:, :, start : start + size]
        parts.append(
            F.scaled_dot_product_attention(
                part, keys, values, attn_mask=mask_QS, scale=scaling, enable_gqa=True
            )
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
