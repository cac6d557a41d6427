"""Windows as flex_attention sees them, against the rule position by position."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.llm.tiny import decoder
from vxl.distributed import ContextGroup
from vxl.llm.attention.sparse import BLOCK, attend_sparse, sparse_mask
from vxl.llm.attention.split import Split
from vxl.llm.attention.windows import Sight, Window, Windows

TOKENS = 700


def windows(seed: int) -> Window:
    """Two documents; the second one's window moves on every 90 tokens."""
    random = np.random.default_rng(seed)
    always = np.flatnonzero(random.random(TOKENS) < 0.02)
    starts = np.arange(300 + seed, TOKENS, 90)
    sights = [Sight(np.arange(starts[0]), 0)]
    for number, start in enumerate(starts):
        tokens = np.arange(start, min(start + 90, TOKENS))
        sights.append(Sight(tokens, int(starts[max(0, number - 1)]), 250))
    return Window(tuple(sights), always)


def rule_of(rows: tuple[Window, ...]) -> Tensor:
    """bool [B, T, T]: what each token sees, position by position."""
    rule = torch.zeros(len(rows), TOKENS, TOKENS, dtype=torch.bool)
    column = np.arange(TOKENS)
    for row, window in enumerate(rows):
        always = np.isin(column, window.always_A)
        for sight in window.sights:
            for q in sight.tokens_Q:
                seen = (column >= sight.since) | always
                rule[row, q] = torch.from_numpy(seen & (column <= q) & (column >= sight.begin))
    return rule


def test_blocks_and_mask_are_the_rule() -> None:
    rows = (windows(0), windows(1))
    step = decoder().step(torch.arange(TOKENS).expand(2, -1), windows=Windows(rows, 0))
    rule = rule_of(rows)
    mask = sparse_mask(2, TOKENS, step, torch.device("cpu"))
    blocks = -(-TOKENS // BLOCK)
    padded = F.pad(rule, (0, blocks * BLOCK - TOKENS, 0, blocks * BLOCK - TOKENS))
    needed = padded.view(2, blocks, BLOCK, blocks, BLOCK).any(4).any(2)
    listed = mask.to_dense()[:, 0].bool()
    assert not (needed & ~listed).any()
    assert listed.sum() < 0.9 * torch.ones(blocks, blocks).tril().sum() * 2
    q, k, v = torch.randn(3, 2, 2, TOKENS, 16).unbind(0)
    got = attend_sparse(q, k, v, None, step, compiled=False)
    torch.testing.assert_close(got, F.scaled_dot_product_attention(q, k, v, attn_mask=rule[:, None]))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_processes_that_share_a_sequence_see_the_same(rank: int) -> None:
    rows = (windows(0), windows(1))
    split = Split(ContextGroup(rank, 3, None), TOKENS)
    step = replace(decoder().step(torch.arange(TOKENS).expand(2, -1), windows=Windows(rows, 0)), split=split)
    q, k, v = torch.randn(3, 2, 2, split.width, 16).unbind(0)
    own_L = split.columns_L
    got = attend_sparse(q[:, :, own_L], k, v, None, step, compiled=False)
    mask = step.scratch["sparse"].to_dense()
    assert mask.shape == (2, 1, -(-len(own_L) // BLOCK), -(-split.width // BLOCK))
    assert not mask.all()
    keys = slice(0, TOKENS)
    wanted = F.scaled_dot_product_attention(
        q[:, :, keys], k[:, :, keys], v[:, :, keys], attn_mask=rule_of(rows)[:, None]
    )
    there = own_L < TOKENS
    torch.testing.assert_close(got[:, :, there], wanted[:, :, own_L[there]])
    assert bool(got.isfinite().all())
