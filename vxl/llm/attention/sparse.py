"""Windows in training on a GPU: flex_attention with a mask that is only listed block by block.

The blocks are found on the host from the rule of `windows`, in T / 128 squared steps; no T x T tensor exists.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vxl.llm.attention.backends import flex_function
from vxl.llm.attention.step import Step

BLOCK = 128


def attend_sparse(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step, compiled: bool
) -> Tensor:
    """Attention of whole sequences with windows, [B, query heads, T, H]; differentiable on CUDA."""
    if "sparse" not in step.scratch:
        step.scratch["sparse"] = sparse_mask(len(query), query.shape[2], step, query.device)
    function = flex_function(compiled)
    mask = step.scratch["sparse"]
    return function(query, key, value, block_mask=mask, scale=scaling, enable_gqa=True)


def sparse_mask(rows: int, tokens: int, step: Step, device: torch.device) -> Any:
    """flex_attention's block mask of a step's windows."""
    # late: torch.nn.attention.flex_attention imports torch._dynamo: 2 s
    from torch.nn.attention.flex_attention import BlockMask

    assert step.windows is not None
    windows = [step.windows.of(row) for row in range(rows)]
    since, begin = (np.stack(x) for x in zip(*(w.per_token(tokens) for w in windows), strict=True))
    always = np.zeros((rows, tokens), bool)
    for row, window in enumerate(windows):
        always[row, window.always_A] = True
    since_BT, begin_BT, always_BT = (torch.from_numpy(x).to(device) for x in (since, begin, always))

    def visible(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        in_window = (kv >= since_BT[b, q]) | always_BT[b, kv]
        return (q >= kv) & (kv >= begin_BT[b, q]) & in_window

    blocks = touched(since, begin, always)
    order = np.argsort(~blocks, axis=-1, kind="stable").astype(np.int32)
    counts = torch.from_numpy(blocks.sum(-1, dtype=np.int32))[:, None].to(device)
    indices = torch.from_numpy(order)[:, None].to(device)
    return BlockMask.from_kv_blocks(
        counts, indices, BLOCK_SIZE=BLOCK, mask_mod=visible, seq_lengths=(tokens, tokens)
    )


def touched(since_BT: np.ndarray, begin_BT: np.ndarray, always_BT: np.ndarray) -> np.ndarray:
    """Which blocks of keys a block of queries may see any of, bool [B, blocks, blocks]; a few too many."""
    rows, tokens = since_BT.shape
    fill = -tokens % BLOCK

    def blocks(x: np.ndarray, value: int) -> np.ndarray:
        return np.pad(x, ((0, 0), (0, fill)), constant_values=value).reshape(rows, -1, BLOCK)

    since, begin = blocks(since_BT, tokens).min(-1), blocks(begin_BT, tokens).min(-1)
    always = blocks(always_BT, 0).max(-1) > 0
    count = since.shape[1]
    stop = (np.arange(count) + 1) * BLOCK
    earlier = np.tril(np.ones((count, count), bool))
    visible = always[:, None] | (stop > since[..., None])
    return earlier & visible & (stop > begin[..., None])
