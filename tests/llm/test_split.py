"""Sequences that processes share: who has which column, and what each sees, without any process."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.llm.tiny import decoder
from vxl.distributed import ContextGroup
from vxl.errors import ConfigError
from vxl.llm import loss
from vxl.llm.attention import across
from vxl.llm.attention.split import Split
from vxl.llm.attention.step import Span, Step, documents
from vxl.llm.attention.windows import Sight, Window, Windows
from vxl.llm.loss import supervised
from vxl.sequence.rows import IGNORE

HEADS, KEYS, WIDTH = 4, 2, 8


def splits(tokens: int, ranks: int) -> list[Split]:
    return [Split(ContextGroup(rank, ranks, None), tokens) for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("tokens", [1, 5, 8, 24, 29])
def test_every_column_is_one_process_s(tokens: int, ranks: int) -> None:
    every = splits(tokens, ranks)
    columns = [split.columns_L for split in every]
    assert all(len(c) == 2 * split.stretch for c, split in zip(columns, every, strict=True))
    assert sorted(torch.cat(columns).tolist()) == list(range(every[0].width))
    assert 0 <= every[0].width - tokens < 2 * ranks
    whole_1TH = torch.randn(1, tokens, 3)
    own = [split.own(whole_1TH, 7.0) for split in every]
    for split, part, own_columns in zip(every, own, columns, strict=True):
        there = own_columns < tokens
        assert torch.equal(part[0, there], whole_1TH[0, own_columns[there]])
        assert bool((part[0, ~there] == 7.0).all()), split.starts
    joined = every[0].in_order(torch.stack(own))
    assert torch.equal(joined[:, :tokens], whole_1TH)


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_every_process_has_as_much_to_do(ranks: int) -> None:
    seen = [int((split.columns_L + 1).sum()) for split in splits(48 * ranks, ranks)]
    assert len(set(seen)) == 1


def attended(
    step_of: Step, rule_BTT: Tensor, tokens: int, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares every process's attention, and the sum of their gradients, with a mask over everything."""
    rows = len(rule_BTT)
    query, key, value = (
        torch.randn(rows, heads, tokens, WIDTH, dtype=torch.float64, requires_grad=True)
        for heads in (HEADS, KEYS, KEYS)
    )
    real_BT = rule_BTT.any(dim=2)
    expected = F.scaled_dot_product_attention(
        query, key, value, attn_mask=(rule_BTT | ~real_BT[..., None])[:, None], enable_gqa=True
    )
    weight = torch.randn_like(expected) * real_BT[:, None, :, None]
    wanted = torch.autograd.grad((expected * weight).sum(), (query, key, value))
    total = torch.zeros((), dtype=torch.float64)
    every = splits(tokens, ranks)

    def own(split: Split, x: Tensor) -> Tensor:
        return split.own(x.transpose(1, 2)).transpose(1, 2)

    together = torch.stack([torch.stack((own(split, key), own(split, value))) for split in every])
    monkeypatch.setattr(across, "gather_parts", lambda own, group: together)
    for split in every:
        step = Step(**{**vars(step_of), "split": split, "scratch": {}})
        out = across.attend_across(*(own(split, x) for x in (query, key, value)), None, step)
        there = split.columns_L < tokens
        real_BL = real_BT[:, split.columns_L[there]]
        close = torch.where(real_BL[:, None, :, None], out[:, :, there], 0.0)
        sought = torch.where(real_BL[:, None, :, None], expected[:, :, split.columns_L[there]], 0.0)
        torch.testing.assert_close(close, sought, rtol=1e-10, atol=1e-12)
        total = total + (out * own(split, weight)).sum()
    for found, gradient in zip(torch.autograd.grad(total, (query, key, value)), wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-10, atol=1e-12)


def causal(document_BT: Tensor) -> Tensor:
    """bool [B, T, T]: each token sees its own document up to itself."""
    same = document_BT[:, :, None] == document_BT[:, None]
    ones = torch.ones(same.shape[1:], dtype=torch.bool).tril()
    return same & ones & (document_BT >= 0)[..., None]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_documents_and_padding_are_cut_where_stretches_are(
    ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        "one": [[0] * 13],
        "unequal": [[0] * 13, [0] * 2 + [-1] * 11],
        "packed": [[0] * 4 + [1] * 1 + [2] * 8, [0] * 6 + [-1] * 7, [-1] * 13],
    }
    for lines in rows.values():
        document_BT = torch.tensor(lines)
        positions_BT = torch.arange(13).expand(len(lines), -1)
        step = decoder(layers=1).step(positions_BT, document_BT=document_BT)
        assert step.spans == documents(document_BT)
        attended(step, causal(document_BT), 13, ranks, monkeypatch)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_windows_are_those_of_the_whole_sequence(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two documents; sights of neighbours, and one of tokens that stand apart."""
    sights = (
        Sight(np.array([0, 1, 4, 9]), 0),
        Sight(np.array([2, 3, 5]), 2),
        Sight(np.array([6, 7, 8, 10]), 6),
        Sight(np.arange(11, 15), 11, 11),
        Sight(np.arange(15, 19), 15, 11),
    )
    window = Window(sights, np.array([0, 1, 4, 9, 12]))
    rule = torch.zeros(1, 19, 19, dtype=torch.bool)
    column = np.arange(19)
    for sight in sights:
        for q in sight.tokens_Q:
            seen = (column >= sight.since) | np.isin(column, window.always_A)
            rule[0, q] = torch.from_numpy(seen & (column <= q) & (column >= sight.begin))
    step = decoder(layers=1).step(torch.arange(19)[None], windows=Windows((window,), 0))
    attended(step, rule, 19, ranks, monkeypatch)


def test_parts_of_documents_come_in_the_order_of_columns() -> None:
    (_, second) = splits(16, 2)
    spans = (Span(0, 0, 6), Span(0, 6, 11))
    own = across.own_runs(spans, 1, second)
    assert own == [
        (0, slice(0, 2), 0, 6),
        (0, slice(2, 4), 6, 8),
        (0, slice(4, 7), 6, 11),
        (0, slice(7, 8), 11, 12),
    ]


def test_each_supervised_token_is_learnt_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever asks for some of them gets each from the process that has it."""
    labels_BT = torch.tensor([[9, IGNORE, 1, 2, IGNORE, 3, 4], [9, 5, IGNORE, IGNORE, 6, 7, IGNORE]])
    hidden_BTD = torch.randn(2, 7, 3)
    whole = supervised(hidden_BTD, labels_BT, None)
    assert (whole.labels_S.tolist(), whole.count) == ([1, 2, 3, 4, 5, 6, 7], 7)
    parts = [supervised(split.own(hidden_BTD), labels_BT, split.group) for split in splits(7, 3)]
    monkeypatch.setattr(loss, "sum_of_parts", lambda own, group: own)
    found: dict[int, Tensor] = {}
    for part in parts:
        assert part.count == 7
        assert part.number_S is not None
        for number, label, hidden_D in zip(
            part.number_S.tolist(), part.labels_S, part.hidden_SD, strict=True
        ):
            assert number not in found
            assert label == whole.labels_S[number]
            found[number] = hidden_D
    assert torch.equal(torch.stack([found[number] for number in range(7)]), whole.hidden_SD)
    asked_Q = torch.tensor([4, 0, 6])
    together = torch.stack([part.at(asked_Q) for part in parts]).sum(0)
    assert torch.equal(together, whole.at(asked_Q))


def test_a_cache_is_not_shared() -> None:
    llm = decoder(layers=1)
    llm.context = ContextGroup(0, 2, None)
    with pytest.raises(ConfigError, match=r"strategy\.context=2 shares out sequences .* without a cache"):
        llm.step(cache=llm.new_cache(), tokens=4)
    step = llm.step(torch.arange(6)[None])
    assert step.positions_BT.tolist() == [[0, 1, 0, 0]]  # columns 0, 1, 6 and 7; nothing is at the last two
