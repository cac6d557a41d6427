"""What tokens see of a past from which entries were dropped, as lists of places, against masks by hand."""

import numpy as np
import pytest
import torch

from vxl.llm.attention.chosen import of_layers, places_where
from vxl.llm.attention.windows import Sight, Window
from vxl.llm.block import Block


def block(index_BNS: torch.Tensor, valid_BNS: torch.Tensor | None = None) -> Block:
    keys = torch.zeros(len(index_BNS), 2, index_BNS.shape[2], 4)
    return Block(keys, keys, index_BNS, index_BNS, valid_BNS)


def test_places_where_a_mask_is_true() -> None:
    mask = torch.tensor([[True, False, True, True], [False, False, True, False], [False] * 4])
    order, count = places_where(mask, 3)
    assert order.tolist() == [[0, 2, 3], [2, 0, 0], [0, 0, 0]]
    assert count.tolist() == [3, 1, 0]


@pytest.mark.parametrize("agree", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_each_head_of_each_layer_sees_its_own_entries(agree: bool, ragged: bool) -> None:
    made, first, heads = torch.Generator().manual_seed(0), 40, 1 if agree else 2

    def own(entries: int, low: int, high: int) -> torch.Tensor:
        rows = [
            torch.randperm(high - low, generator=made)[:entries].sort().values + low for _ in range(heads)
        ]
        return torch.stack(rows)[None]

    past = []
    for _ in range(3):
        valid = torch.rand(1, heads, 9, generator=made) < 0.7 if ragged else None
        past.append((block(own(9, 0, 30), valid), block(own(6, 30, first))))
    if agree:
        past = [past[0]] * 3
    window = Window((Sight(np.arange(5), 25),), np.array([0, 3, 7, 8, 26, 41]))
    for layer, seen in enumerate(of_layers(past, window, window.sights[0], first)):
        for head in range(heads):
            index = torch.cat([b.index_BNS[0, head] for b in past[layer]])
            there = torch.cat(
                [
                    torch.ones(len(b)).bool() if b.valid_BNS is None else b.valid_BNS[0, head]
                    for b in past[layer]
                ]
            )
            expected = [
                place
                for place, column in enumerate(index.tolist())
                if there[place] and (column >= 25 or column in (0, 3, 7, 8))
            ]
            count = int(seen.count_BN[0, head])
            assert seen.order_BNV[0, head, :count].tolist() == expected


def test_the_columns_that_are_seen_are_sent_once() -> None:
    past = [(block(torch.arange(5)[None, None]),)]
    window = Window((Sight(np.arange(2), 3),), np.array([0]))
    known: list[tuple[torch.Tensor, int]] = []
    first, second = (of_layers(past, window, window.sights[0], 5, known)[0] for _ in range(2))
    assert first.order_BNV.tolist() == second.order_BNV.tolist() == [[[0, 3, 4]]]
    assert known[0][0].tolist() == [True, False, False, True, True]
