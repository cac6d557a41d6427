"""Attention of observing tokens on what a layer holds, worked out anew in tiles: no kernel need return it."""

import torch
from torch import Tensor

from vxl.kv.scored.entries import Entries
from vxl.llm.cache import Cache

EVERY = 2**31 - 1
"""Observers: all tokens of a pass."""
TILE = 2**26
"""Numbers of the largest tile."""


def observed_columns(cache: Cache) -> tuple[Tensor, Tensor]:
    """The observers of the last pass: the columns that they were fed as, and which of them exist, [B, Q]."""
    observed = cache.observed
    assert observed is not None, "the last pass was not observed"
    return cache.fed - observed.tokens + observed.columns_BQ, observed.real_BQ


def attention(entries: Entries, last: int | None = None) -> Tensor:
    """Attention of the observers of the last pass on every entry, summed over them, [B, N, R, S].

    An observer sees all entries held that were fed no later than itself, whatever window the prefill gave it.

    Args:
        entries: A layer's entries.
        last: Only so many last observers of each row; None = all.
    """
    column_BQ, real_BQ = observed_columns(entries.cache)
    query = entries.queries_BMQH
    if last is not None and last < column_BQ.shape[1]:
        query, column_BQ, real_BQ = query[:, :, -last:], column_BQ[:, -last:], real_BQ[:, -last:]
    return attention_of(query, column_BQ, real_BQ, entries)


def attention_of(query_BMQH: Tensor, column_BQ: Tensor, real_BQ: Tensor, entries: Entries) -> Tensor:
    """Attention of given rotated queries, summed over them, [B, N, R, S]; see `attention`."""
    keys_BNSH, observed = entries.turned_BNSH, entries.cache.observed
    assert observed is not None, "the last pass was not observed"
    rows, heads, queries, width = query_BMQH.shape
    kv_heads, count = keys_BNSH.shape[1:3]
    sharing = heads // kv_heads
    query = query_BMQH.unflatten(1, (kv_heads, sharing)).to(keys_BNSH.dtype)
    valid_BNS, index_BNS = entries.valid_BNS, entries.index_BNS
    # Of what exists, observers do not see what the last pass brought behind them; that stands at the end.
    unseen = 0 if entries.gaps else count - observed.tokens
    real_B1Q = real_BQ.to(keys_BNSH.dtype)[:, None, None]
    tile = max(1, TILE // max(1, rows * sharing * count))
    lowest = torch.finfo(keys_BNSH.dtype).min
    # So few heads and queries at once that no tensor has heads x queries x entries.
    together = max(1, tile // max(1, queries))
    parts = []
    for first in range(0, kv_heads, together):
        own = slice(first, first + together)
        there_BNX, column_BNX = (
            (x[:, own] if x.shape[1] > 1 else x)[..., unseen:] for x in (valid_BNS, index_BNS)
        )
        sums = torch.zeros((), dtype=keys_BNSH.dtype, device=keys_BNSH.device)
        for start in range(0, queries, tile):
            part = slice(start, start + tile)
            hidden_BNQX = (column_BNX[:, :, None] > column_BQ[:, None, part, None]) | ~there_BNX[:, :, None]
            score_BNRQS = (query[:, own, :, part] * width**-0.5) @ keys_BNSH[:, own, None].mT
            score_BNRQS[..., unseen:].masked_fill_(hidden_BNQX[:, :, None], lowest)
            weight_BNRQS = score_BNRQS.softmax(dim=-1)
            # Every token that exists sees itself, so that what is hidden from it has weight 0.
            sums = sums + (real_B1Q[:, :, None, :, part] @ weight_BNRQS)[..., 0, :]
        parts.append(sums)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
