"""Attention of new tokens at the end of a longer sequence of keys, exact and without a T x T mask.

Letters: B rows · N key-value heads · Q new tokens · S all keys, the new tokens' own last · H head width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of the largest mask that is made at once.
MASK = 1 << 24


def attend_causal(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None = None,
    *,
    column_Q: Tensor | None = None,
    valid_BNS: Tensor | None = None,
    tokens: int | None = None,
) -> Tensor:
    """Each query sees all keys up to its own, which is counted from the end.

    Args:
        query: [B, query heads, Q, H].
        key: [B, N, S, H].
        value: [B, N, S, H].
        scaling: Factor on the scores; None = H ** -0.5.
        column_Q: Which of the `tokens` last keys is each query's own, ascending; None = one after the other.
        valid_BNS: Keys that exist (N may be 1); None = all.
        tokens: New keys, where there are more than queries; None = as many.

    Returns:
        [B, query heads, Q, H].
    """
    queries, keys = query.shape[2], key.shape[2]
    if query.is_cuda and query.dtype in (torch.float32, torch.float64):
        # Their kernels know no grouped heads, and the fallback would make a Q x S matrix a head.
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        if valid_BNS is not None and valid_BNS.shape[1] > 1:
            valid_BNS = valid_BNS.repeat_interleave(repeats, 1)
    if column_Q is None and valid_BNS is None:
        if queries == keys:
            return F.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=scaling, enable_gqa=True
            )
        if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
            from torch.nn.attention.bias import causal_lower_right  # late: torch.nn.attention.bias, 2 s

            bias = causal_lower_right(queries, keys)
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, scale=scaling, enable_gqa=True
            )
    # In slices of queries, so that the mask stays small.
    size = max(1, MASK // keys)
    before = keys - (queries if tokens is None else tokens)
    own_Q = torch.arange(queries, device=query.device) if column_Q is None else column_Q
    seen_S = torch.arange(keys, device=query.device)
    if valid_BNS is not None and valid_BNS.shape[1] > 1 and valid_BNS.shape[1] != query.shape[1]:
        valid_BNS = valid_BNS.repeat_interleave(query.shape[1] // valid_BNS.shape[1], 1)
    parts = []
    for start in range(0, queries, size):
        stop = min(start + size, queries)
        last = before + stop if column_Q is None else keys
        mask = seen_S[:last] <= before + own_Q[start:stop, None]
        if valid_BNS is not None:
            mask = mask & valid_BNS[..., None, :last]
        parts.append(
            F.scaled_dot_product_attention(
                query[:, :, start:stop],
                key[:, :, :last],
                value[:, :, :last],
                attn_mask=mask,
                scale=scaling,
                enable_gqa=True,
            )
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def attend_few(
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    scaling: float | None,
    valid: Sequence[Tensor | None],
) -> Tensor:
    """A few new tokens over keys in blocks, which are read where they lie and not joined.

    Args:
        query: [B, query heads, Q, H].
        keys: Blocks [B or 1, N, S, H]; the last one holds the new tokens' own keys.
        values: As keys.
        scaling: Factor on the scores; None = H ** -0.5.
        valid: For each block the keys that exist, [B or 1, N or 1, S]; None = all.

    Returns:
        [B, query heads, Q, H].
    """
    rows, query_heads, queries, width = query.shape
    heads = keys[0].shape[1]
    query_groups = query.reshape(rows, heads, query_heads // heads * queries, width)
    scores = []
    for block, there in zip(keys, valid, strict=True):
        score = product(query_groups, block.transpose(2, 3)) * (scaling or width**-0.5)
        if there is not None:
            score = score.masked_fill(~there[:, :, None], float("-inf"))
        scores.append(score)
    if queries > 1:
        later = torch.ones(queries, queries, dtype=torch.bool, device=query.device).triu(1)
        later = later.repeat(query_heads // heads, 1)
        scores[-1] = scores[-1].masked_fill(later, float("-inf"))
    weights = torch.cat(scores, dim=-1).softmax(dim=-1)
    parts = weights.to(query.dtype).split([block.shape[2] for block in keys], dim=-1)
    out = torch.zeros((), device=query.device)
    for part, block in zip(parts, values, strict=True):
        out = out + product(part, block)
    return out.to(query.dtype).reshape(rows, query_heads, queries, width)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product [B,N,X,Y] @ [B or 1,N,Y,Z] in at least float32, without copying `b` for every row."""
    rows, heads, x, _ = a.shape
    one_for_all = b.shape[0] == 1 and rows > 1
    if one_for_all:
        a = a.transpose(0, 1).reshape(1, heads, rows * x, -1)
    if a.is_cuda and a.dtype in (torch.float16, torch.bfloat16):
        out = torch.bmm(a.flatten(0, 1), b.flatten(0, 1), out_dtype=torch.float32).unflatten(0, (-1, heads))
    else:
        out = a @ b
        out = out.to(torch.promote_types(out.dtype, torch.float32))
    return out.view(heads, rows, x, -1).transpose(0, 1) if one_for_all else out
