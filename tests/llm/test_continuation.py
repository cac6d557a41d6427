"""Each kernel against attention written out with a mask."""

import pytest
import torch
from torch import Tensor

from vxl.llm.attention import continuation
from vxl.llm.attention.continuation import attend_causal, attend_few


def written_out(query: Tensor, key: Tensor, value: Tensor, visible_QS: Tensor) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    return scores.masked_fill(~visible_QS, float("-inf")).softmax(-1) @ value


def inputs(queries: int, keys: int, rows: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(queries * 100 + keys)
    query = torch.randn(rows, 6, queries, 8, dtype=torch.float64)
    key, value = (torch.randn(rows, 2, keys, 8, dtype=torch.float64) for _ in range(2))
    return query, key, value


def causal(queries: int, keys: int) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


@pytest.mark.parametrize("mask", [1 << 24, 64, 1])
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (5, 19), (1, 9)])
def test_causal_in_slices_of_any_size(
    mask: int, queries: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation, "MASK", mask)
    q, k, v = inputs(queries, keys)
    torch.testing.assert_close(attend_causal(q, k, v), written_out(q, k, v, causal(queries, keys)))


def test_some_of_the_new_tokens_ask() -> None:
    q, k, v = inputs(3, 20)
    columns = torch.tensor([0, 4, 5])  # of 6 new ones
    got = attend_causal(q, k, v, column_Q=columns, tokens=6)
    torch.testing.assert_close(got, written_out(q, k, v, causal(6, 20)[columns]))


@pytest.mark.parametrize("heads", [1, 2])
def test_keys_that_do_not_exist(heads: int) -> None:
    q, k, v = inputs(4, 15)
    valid = torch.rand(2, heads, 15) < 0.5
    valid[..., -4:] = True
    visible = causal(4, 15) & valid.repeat_interleave(6 // heads, 1)[:, :, None]
    torch.testing.assert_close(attend_causal(q, k, v, valid_BNS=valid), written_out(q, k, v, visible))
    few = attend_few(
        q, list(k.split([5, 6, 4], 2)), list(v.split([5, 6, 4], 2)), None, list(valid.split([5, 6, 4], 2))
    )
    torch.testing.assert_close(few, written_out(q, k, v, visible))


def test_blocks_that_rows_share() -> None:
    q, k, v = inputs(2, 11)
    shared = [x[:1, :, :9] for x in (k, v)]
    k[1, :, :9], v[1, :, :9] = k[0, :, :9], v[0, :, :9]
    got = attend_few(q, [shared[0], k[:, :, 9:]], [shared[1], v[:, :, 9:]], None, [None, None])
    torch.testing.assert_close(got, written_out(q, k, v, causal(2, 11)))
