import numpy as np
import pytest

from vxl.kv.density import depth, intervals


def test_depth_is_how_far_a_similarity_lies_below_the_highest_on_both_sides() -> None:
    assert depth(np.array([0.9, 0.5, 0.8])).tolist() == pytest.approx([0.0, 0.35, 0.05])
    assert depth(np.array([0.9, 0.5, 0.8, 0.1, 1.0])).tolist() == pytest.approx([0.05, 0.45, 0.15, 0.85, 0.0])
    assert not depth(np.full(9, 0.7)).any()


def test_intervals_end_where_the_picture_changes() -> None:
    similarity = np.array([0.99, 0.98, 0.2, 0.97, 0.99, 0.99, 0.1, 0.98])
    assert intervals(similarity, 1.0, 20) == [3, 4, 2]
    assert intervals(similarity, 1.0, 2) == [2, 1, 2, 2, 2]
    assert intervals(similarity, 9.0, 20) == [9]


def test_a_change_counts_by_standard_deviations_of_the_depth() -> None:
    """Mean 0.09, deviation 0.21: the shallow change of 0.2 stays below 0.30, and above 0.09 + 0.21²."""
    similarity = np.array([0.9, 0.7, 0.9, 0.9, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert intervals(similarity, 1.0, 20) == [5, 6]
    assert intervals(similarity, 0.5, 20) == [2, 3, 6]


def test_nothing_changes_and_nothing_is_there() -> None:
    assert intervals(np.full(49, 0.7), 1.0, 20) == [17, 17, 16]
    assert intervals(np.empty(0), 1.0, 20) == [1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("longest", [1, 3, 20])
def test_every_group_is_in_one_interval(seed: int, longest: int) -> None:
    similarity = np.random.default_rng(seed).uniform(-1, 1, 60)
    lengths = intervals(similarity, 0.5, longest)
    assert sum(lengths) == 61
    assert 1 <= min(lengths) <= max(lengths) <= longest


def test_deviations_are_counted_not_variances() -> None:
    """Of the depths 0.4, 0.2 and 0 the first one lies between the mean and a deviation or a variance more."""
    similarity = np.array([0.9, 0.5, 0.9, 0.9, 0.9, 0.7, 0.9, 0.9])
    found = depth(similarity)
    assert found.mean() + found.var() < 0.2 < found.mean() + found.std() < 0.4
    assert intervals(similarity, 1.0, 20) == [2, 7]
