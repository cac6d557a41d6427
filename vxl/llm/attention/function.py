"""The attention function that transformers calls in every layer: it chooses the attention kernel.

The model is called with positions of zero, so that its own rotation does nothing; this function rotates
queries and keys to the positions of the step, puts the cache's keys in front, and leaves the new ones for
the cache.
"""

import zlib
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.llm.attention.across import attend_across
from vxl.llm.attention.backends import BACKENDS
from vxl.llm.attention.continuation import attend_causal, attend_few
from vxl.llm.attention.joined import keys_and_values, of_row, visible
from vxl.llm.attention.sliding import through_sliding
from vxl.llm.attention.sparse import attend_sparse
from vxl.llm.attention.step import New, Step
from vxl.llm.attention.windows import Seen, attend_windows, seen_by
from vxl.llm.block import Block
from vxl.llm.kernels import usable
from vxl.llm.memo import IdentityMemo
from vxl.llm.rope import rotate

NAME = f"vxl-{zlib.crc32(__name__.encode()):08x}"
"""What our attention is registered as, in the one table that an exported model's copy of this module shares.
transformers makes no masks for a name that it does not know."""

FEW = 8
"""Up to so many new tokens read the cache block by block, without joining it."""

# What transformers passes to attention that means another function than ours.
UNSUPPORTED = {
    "softcap": "caps its attention scores",
    "s_aux": "has learned attention sinks",
    "sliding_window": "has a sliding window",
}


def register_attention() -> None:
    """Makes our attention known to transformers."""
    from transformers import AttentionInterface  # late: transformers takes a second

    AttentionInterface.register(NAME, attend)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    step: Step,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer.

    Args:
        module: The layer's attention module; its `layer_idx` finds the cache.
        query: [B, query heads, T, H], un-rotated.
        key: [B, N, T, H], un-rotated.
        value: [B, N, T, H].
        attention_mask: None: what sees what is the step's to say.
        scaling: Factor on the scores.
        dropout: On the attention weights; must be 0.
        step: The pass.
        **kwargs: Others of transformers.

    Returns:
        [B, T, query heads, H], and None.

    Raises:
        ConfigError: The model wants an attention that ours is not.
    """
    for name, what in UNSUPPORTED.items():
        if kwargs.get(name) is not None:
            raise ConfigError(
                f"llm: {type(module).__name__} {what} ({name}={kwargs[name]}).\n"
                "  allowed: plain causal attention, like Qwen2, Qwen3 and Llama"
            )
    if dropout:
        raise ConfigError(
            f"llm: attention dropout {dropout} is not supported.\n  allowed: attention_dropout=0"
        )
    # Under autocast their rotation gives float32, while values have the lower precision.
    query, key = query.to(value.dtype), key.to(value.dtype)
    cos, sin = step.cos_BTH[:, None].to(value.dtype), step.sin_BTH[:, None].to(value.dtype)
    rotated_key = rotate(key, cos, sin)
    query = rotate(query, cos, sin)
    layer = cast(int, module.layer_idx)
    if step.new is not None:
        step.new[layer] = New(key, value, rotated_key if step.memo else None)
    return through_step(layer, query, rotated_key, value, scaling, step), None


def through_step(
    layer: int, query: Tensor, rotated_key: Tensor, value: Tensor, scaling: float | None, step: Step
) -> Tensor:
    """Attention of a layer's new tokens over themselves and the past, as the step says.

    Args:
        layer: Whose past.
        query: [B, query heads, T, H], rotated.
        rotated_key: [B, N, T, H], the new keys, rotated.
        value: [B, N, T, H].
        scaling: Factor on the scores.
        step: The pass.

    Returns:
        [B, T, query heads, H].
    """
    if step.split is not None:
        return attend_across(query, rotated_key, value, scaling, step).transpose(1, 2)
    if step.in_turn is not None:
        return step.in_turn(layer, query, rotated_key, value, scaling)
    if step.queries is not None:
        assert step.observed_BQ is not None
        columns = step.observed_BQ.clamp(min=0)[:, None, :, None].expand(
            -1, query.shape[1], -1, query.shape[3]
        )
        step.queries[layer] = query.gather(2, columns)
    past = () if step.past is None else tuple(block.plain() for block in step.past[layer])
    if step.sliding is not None:
        return through_sliding(layer, past, query, rotated_key, value, scaling, step).transpose(1, 2)
    if (past or step.windows is not None) and usable(query):
        from vxl.llm.kernels import steps  # late: Triton, which only GPUs need

        if steps.suits(query, past, step):
            return steps.attend_step(layer, past, query, rotated_key, value, scaling, step)
    if step.windows is not None and not past and query.is_cuda and query.requires_grad:
        out = attend_sparse(query, rotated_key, value, scaling, step, compiled=True)
    elif step.windows is not None:
        out = through_windows(past, query, rotated_key, value, scaling, step)
    elif not past:
        out = BACKENDS[step.backend](query, rotated_key, value, scaling, step)
    elif query.shape[2] <= FEW:
        keys = [block.rotated(step.rotary) for block in past]
        values = [block.values_BNSH for block in past]
        valid = [block.valid_BNS for block in past]
        out = attend_few(query, [*keys, rotated_key], [*values, value], scaling, [*valid, None])
    else:
        out = continue_from(past, query, rotated_key, value, scaling, step)
    return out.transpose(1, 2)


def continue_from(
    past: tuple[Block, ...], query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step
) -> Tensor:
    """New tokens behind a cache that they see all of."""
    rows, _, tokens, _ = query.shape
    whole = step.valid_BT is None and all(len(block.keys_BNSH) == rows for block in past)
    if whole and all(block.valid_BNS is None for block in past):
        return attend_causal(query, *keys_and_values(past, key, value, step), scaling)
    # Row by row, without the entries that do not exist: that needs no mask, and copies no shared block.
    out = torch.zeros_like(query)
    lengths = [tokens] * rows if step.valid_BT is None else step.valid_BT.sum(dim=1).tolist()
    for row, length in enumerate(lengths):
        if not length:
            continue
        q, k, v = (x[row, None, :, :length] for x in (query, key, value))
        own = [of_row(block, row) for block in past]
        out[row, None, :, :length] = attend_causal(
            q, *keys_and_values(own, k, v, step), scaling, valid_BNS=visible(own, length)
        )
    return out


def through_windows(
    past: tuple[Block, ...], query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step
) -> Tensor:
    """New tokens that see parts of what came before them."""
    assert step.windows is not None
    rows, tokens = len(query), query.shape[2]
    whole = all(block.valid_BNS is None and len(block.keys_BNSH) == rows for block in past)
    kept_all = sum(map(len, past)) == step.windows.first
    if len(step.windows.rows) == 1 and whole and (rows == 1 or kept_all):
        keys, values = keys_and_values(past, key, value, step)
        return attend_windows(query, keys, values, scaling, sights_of(past, past, tokens, step, 0))
    parts = []
    for row in range(rows):
        own = [of_row(block, row) for block in past]
        q, k, v = (x[row, None] for x in (query, key, value))
        sights = sights_of(past, own, tokens, step, row)
        parts.append(attend_windows(q, *keys_and_values(own, k, v, step), scaling, sights))
    return torch.cat(parts)


def sights_of(past: tuple[Block, ...], own: Sequence[Block], tokens: int, step: Step, row: int) -> list[Seen]:
    """What a row's tokens see of its `own` part of the past; worked out once for layers that agree."""
    assert step.windows is not None
    memo: IdentityMemo[list[Seen]] = step.scratch.setdefault("sights", IdentityMemo())

    def worked_out() -> list[Seen]:
        assert step.windows is not None
        first = step.windows.first
        new_T = torch.arange(first, first + tokens, device=step.positions_BT.device)
        heads = max((block.index_BNS.shape[1] for block in own), default=1)
        columns = [*(block.index_BNS[0] for block in own), new_T[None]]
        columns_NS = torch.cat([column.expand(heads, -1) for column in columns], dim=1)
        return seen_by(step.windows.of(row), columns_NS, visible(own, tokens), tokens)

    tensors = (tensor for block in past for tensor in (block.index_BNS, block.valid_BNS))
    return memo.get((row, *tensors), worked_out)
