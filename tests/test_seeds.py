"""Draws by name: the same everywhere, and different for different names."""

import numpy as np

from vxl.seeds import generator, permutation, seed_of


def test_the_same_on_every_machine():
    assert seed_of(0, "sample", 7) == 4503643410025122488
    assert permutation(6, 1, "pass").tolist() == [5, 1, 0, 2, 4, 3]


def test_permutation_is_one_and_depends_on_its_name():
    first, second = permutation(1000, 1, "pass", 0), permutation(1000, 1, "pass", 1)
    assert sorted(first.tolist()) == list(range(1000))
    assert (first != second).mean() > 0.9


def test_names_do_not_run_together():
    assert seed_of(1, 23) != seed_of(12, 3)
    assert not np.array_equal(generator(1, "a").random(4), generator(1, "b").random(4))
