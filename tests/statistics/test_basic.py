import math

import pytest

from vxl.errors import DataError
from vxl.statistics import paired, spread, wilson


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # Published tables (Newcombe 1998, method 3).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(right: int, total: int, low: float, high: float) -> None:
    interval = wilson(right, total)
    assert round(interval.low, 4) == low
    assert round(interval.high, 4) == high


def test_wilson_is_symmetric_and_holds_the_share() -> None:
    for total in (1, 7, 100):
        for right in range(total + 1):
            low, high = wilson(right, total)
            other = wilson(total - right, total)
            assert 0 <= low <= right / total <= high <= 1
            assert math.isclose(low, 1 - other.high, abs_tol=1e-12)


def test_wilson_of_nothing_excludes_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_narrows_with_questions_and_widens_with_confidence() -> None:
    assert wilson(80, 100).low > wilson(8, 10).low
    assert wilson(80, 100, confidence=0.99).low < wilson(80, 100, confidence=0.9).low


def test_wilson_refuses_impossible_counts() -> None:
    with pytest.raises(DataError, match="5 right answers of 4 questions are impossible; expected 0 to 4"):
        wilson(5, 4)


def test_spread_of_seeds() -> None:
    result = spread([0.2, 0.4, 0.6])
    assert math.isclose(result.mean, 0.4)
    assert math.isclose(result.deviation or 0, 0.2)
    assert result.count == 3


def test_spread_of_one_run_claims_no_deviation() -> None:
    assert spread([0.5]) == (0.5, None, 1)


def test_spread_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one finished run"):
        spread([])


def test_paired_counts_only_questions_answered_differently() -> None:
    first = [True] * 10 + [False] * 10 + [True, False]
    second = [True] * 10 + [True] * 10 + [True, False]
    result = paired(first, second)
    assert (result.first_only, result.second_only) == (0, 10)
    assert math.isclose(result.difference, 10 / 22)
    assert math.isclose(result.p_value, 2 / 1024)


def test_paired_equal_systems_do_not_differ() -> None:
    assert paired([True, False], [True, False]).p_value == 1.0
    assert paired([True, False], [False, True]) == (1, 1, 0.0, 1.0)


def test_paired_needs_the_same_questions() -> None:
    with pytest.raises(DataError, match="got 2 and 1 answers"):
        paired([True, True], [True])
