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
    """Attention of whole sequences with windows, [B, query heads, T, H]; differentiable on CUDA.

    Where the step is split: of this process's columns over those of its whole group.
    """
    if "sparse" not in step.scratch:
        tokens = query.shape[2] if step.split is None else step.split.tokens
        step.scratch["sparse"] = sparse_mask(len(query), tokens, step, query.device)
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
    split = step.split
    width, columns = tokens, np.arange(tokens)
    if split is not None:
        width, columns = split.width, split.columns_L.numpy()
        behind = ((0, 0), (0, width - tokens))  # what is behind the sequence sees itself
        since, begin = (np.pad(x, behind, constant_values=tokens)[:, columns] for x in (since, begin))
    always = np.zeros((rows, width), bool)
    for row, window in enumerate(windows):
        always[row, window.always_A] = True
    since_BT, begin_BT, always_BT, column_T = (
        torch.from_numpy(x).to(device) for x in (since, begin, always, columns)
    )

    def visible(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        in_window = (kv >= since_BT[b, q]) | always_BT[b, kv]
        own = q if split is None else column_T[q]
        return (own >= kv) & (kv >= begin_BT[b, q]) & in_window

    blocks = touched(since, begin, always, columns)
    order = np.argsort(~blocks, axis=-1, kind="stable").astype(np.int32)
    counts = torch.from_numpy(blocks.sum(-1, dtype=np.int32))[:, None].to(device)
    indices = torch.from_numpy(order)[:, None].to(device)
    return BlockMask.from_kv_blocks(
        counts, indices, BLOCK_SIZE=BLOCK, mask_mod=visible, seq_lengths=(len(columns), width)
    )


def touched(
    since_BT: np.ndarray, begin_BT: np.ndarray, always_BS: np.ndarray, column_T: np.ndarray
) -> np.ndarray:
    """Which blocks of keys a block of queries may see any of, bool [B, blocks, blocks]; a few too many.

    Args:
        since_BT: From which key on each query sees everything.
        begin_BT: Before which it sees nothing.
        always_BS: Keys that are always seen.
        column_T: Each query's own key.
    """
    width = always_BS.shape[1]

    def blocks(x: np.ndarray, value: int) -> np.ndarray:
        fill = -x.shape[1] % BLOCK
        return np.pad(x, ((0, 0), (0, fill)), constant_values=value).reshape(len(x), -1, BLOCK)

    since, begin = blocks(since_BT, width).min(-1), blocks(begin_BT, width).min(-1)
    always = blocks(always_BS, 0).max(-1) > 0
    start = np.arange(always.shape[1]) * BLOCK
    stop = start + BLOCK
    earlier = start <= blocks(column_T[None], -1).max(-1)[..., None]
    visible = always[:, None] | (stop > since[..., None])
    return earlier & visible & (stop > begin[..., None])
