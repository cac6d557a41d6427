"""First-fit decreasing."""

import numpy as np
import pytest

from vxl.data.order.packing import pack_rows


def test_fills_rows():
    assert pack_rows([5, 3, 2, 7, 3], 10) == [[3, 1], [0, 4, 2]]


def test_every_sample_once_and_no_row_too_long():
    costs = np.random.default_rng(0).integers(1, 900, 500)
    rows = pack_rows(costs, 1000)
    assert sorted(n for row in rows for n in row) == list(range(500))
    assert max(int(costs[row].sum()) for row in rows) <= 1000
    # First-fit decreasing never needs more than 11/9 of the best packing + 1.
    assert len(rows) <= 11 / 9 * (costs.sum() / 1000 + 1) + 1


def test_a_sample_longer_than_a_row_stands_alone():
    assert pack_rows([4, 30, 4], 10) == [[1], [0, 2]]


@pytest.mark.parametrize("costs", [[], np.array([], int)])
def test_nothing(costs):
    assert pack_rows(costs, 10) == []
