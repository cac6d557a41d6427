"""The global order: which samples stand in which row."""

import pickle
from collections import Counter
from itertools import pairwise

import pytest

from vxl.data.order.mixture import Mixture
from vxl.data.order.rows import Order, arrange
from vxl.data.sample import Sample, Turn
from vxl.errors import DataError


class Texts:
    """Samples of 1 to 60 words; every 17th has a text that can't be used."""

    def __len__(self):
        return 300

    def record(self, number):
        if number % 17 == 16:
            raise DataError("bad text")
        return Sample(str(number), (Turn("user", "w " * (number % 60 + 1)), Turn("assistant", "a")))


def cost(sample):
    return len(sample.turns[0].text) // 2


def order(**kwargs):
    return Order(Mixture({"texts": Texts()}, seed=1), cost, **{"seed": 1, "bucket": 40, "group": 8, **kwargs})


@pytest.mark.parametrize("max_tokens", [None, 64])
def test_row_r_does_not_depend_on_what_was_asked_before(max_tokens):
    straight = [order(max_tokens=max_tokens).row(0)]
    asked = order(max_tokens=max_tokens)
    straight = [asked.row(r) for r in range(200)]
    for r in (199, 3, 77):
        assert order(max_tokens=max_tokens).row(r) == straight[r]
    assert pickle.loads(pickle.dumps(asked)).row(120) == straight[120]


@pytest.mark.parametrize("max_tokens", [None, 64])
def test_starting_at_an_anchor(max_tokens):
    straight = order(max_tokens=max_tokens)
    anchor = straight.anchor_of(150)
    calls = []
    resumed = Order(
        straight.mixture,
        lambda s: calls.append(s) or cost(s),
        seed=1,
        bucket=40,
        group=8,
        max_tokens=max_tokens,
        anchor=anchor,
    )
    assert resumed.row(150) == straight.row(150)
    assert len(calls) <= 40  # one window
    assert resumed.row(0) == straight.row(0)  # going back is slower, not wrong


def test_every_sample_of_the_mixture_once():
    rows = [order(max_tokens=64).row(r) for r in range(120)]
    numbers = [place.number for row in rows for place in row]
    assert max(Counter(numbers).values()) == 1
    whole = max(numbers) // 40 * 40
    assert set(range(whole)) <= set(numbers)


def test_rows_of_a_group_are_of_similar_length_and_groups_are_shuffled():
    asked = order()
    lengths = [asked.cost_of(asked.row(r)[0]) for r in range(40)]
    groups = [lengths[n : n + 8] for n in range(0, 40, 8)]
    assert all(group == sorted(group, reverse=True) for group in groups)
    ranges = sorted((min(group), max(group)) for group in groups)
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    firsts = [group[0] for group in groups]
    assert firsts not in (sorted(firsts), sorted(firsts, reverse=True))


def test_groups_are_shuffled_anew_in_each_window_and_for_each_seed():
    def ranks(asked, window):
        """The order in which the groups of a window come, by the length of their longest row."""
        longest = [asked.cost_of(asked.row(40 * window + n)[0]) for n in range(0, 40, 8)]
        return tuple(sorted(range(5), key=lambda group: longest[group]))

    assert len({ranks(order(), window) for window in range(6)}) > 2
    assert len({ranks(order(seed=seed), 0) for seed in range(6)}) > 2


def test_places_are_numbered_as_the_mixture_numbers_its_samples():
    asked = order()
    places = sorted((asked.row(r)[0] for r in range(120)), key=lambda place: place.number)
    assert [(place.source, place.record) for place in places] == asked.mixture.span(0, 120)
    assert [place.number for place in places] == list(range(120))


@pytest.mark.parametrize("seed", range(8))
def test_a_short_last_group_stays_last(seed):
    """Else the groups behind it would straddle two optimizer steps."""
    rows = arrange([20 - n for n in range(11)], None, 4, seed)
    assert rows[8:] == [[8], [9], [10]]
    assert sorted(map(tuple, (map(tuple, rows[:4]), map(tuple, rows[4:8])))) == [
        ((0,), (1,), (2,), (3,)),
        ((4,), (5,), (6,), (7,)),
    ]


def test_packed_rows_fit():
    asked = order(max_tokens=64)
    rows = [[asked.cost_of(place) for place in asked.row(r)] for r in range(100)]
    assert max(map(sum, rows)) <= 64
    assert sum(map(sum, rows)) / (64 * 100) > 0.9
    assert max(map(len, rows)) > 1


def test_bad_text_keeps_its_place():
    asked = order()
    bad = [row[0] for row in map(asked.row, range(40)) if row[0].record % 17 == 16]
    assert bad
    assert {asked.cost_of(place) for place in bad} == {1}
