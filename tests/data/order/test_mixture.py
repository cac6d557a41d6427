"""The mixture: a pure function of (seed, i), exact shares, nothing twice in a pass."""

import pickle
from collections import Counter

import pytest

from vxl.data.order.mixture import STRETCH, Mixture, _jitter
from vxl.errors import ConfigError


class Numbers:
    """A source of n samples."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


def mixture(seed=3, **kwargs):
    sources = {"few": Numbers(7), "some": Numbers(1000), "many": Numbers(100_000)}
    return Mixture(sources, {"few": 0.001, "some": 0.3, "many": 0.699}, seed=seed, **kwargs)


def test_sample_i_does_not_depend_on_what_was_asked_before():
    straight = mixture().span(0, 5000)
    other = mixture()
    assert other.span(4000, 4500) == straight[4000:4500]
    assert [other.sample(n) for n in (4999, 0, 1023, 1024, 1025)] == [
        straight[n] for n in (4999, 0, 1023, 1024, 1025)
    ]
    assert pickle.loads(pickle.dumps(other)).span(100, 200) == straight[100:200]
    far = mixture().span(10**9, 10**9 + 3)
    assert far == mixture().span(10**9 - 5, 10**9 + 3)[5:]


def test_shares_are_exact_at_any_point():
    straight = mixture().span(0, 20_000)
    for stop in (100, 1234, 20_000):
        counts = Counter(name for name, _ in straight[:stop])
        for name, share in (("few", 0.001), ("some", 0.3), ("many", 0.699)):
            assert abs(counts[name] - share * stop) <= 3


def test_nothing_twice_in_a_pass_and_another_order_in_the_next():
    records = [record for name, record in mixture().span(0, 8000) if name == "some"]
    assert sorted(records[:1000]) == sorted(records[1000:2000]) == list(range(1000))
    assert records[:1000] != records[1000:2000]


def test_the_seed_matters():
    assert mixture(seed=1).span(0, 50) != mixture(seed=2).span(0, 50)


def test_samples_come_in_the_order_of_their_arrivals():
    """The k-th sample of a source of weight w arrives at (k + u_k) / w, across the ends of stretches, too."""
    count, weights = 5 * STRETCH, {"few": 0.001, "some": 0.3, "many": 0.699}
    arrivals = [
        ((k + u) / weight, name)
        for name, weight in weights.items()
        for k, u in enumerate(_jitter(3, name, 0, count))
    ]
    names = [name for _, name in sorted(arrivals)]
    assert [name for name, _ in mixture(seed=3).span(0, 4 * STRETCH)] == names[: 4 * STRETCH]


def test_each_seed_and_source_has_arrivals_of_its_own():
    def names(seed):
        equal = Mixture({"a": Numbers(500), "b": Numbers(500)}, seed=seed)
        return "".join(name for name, _ in equal.span(0, 200))

    assert names(1) != names(2)
    assert names(1) not in ("ab" * 100, "ba" * 100)


def test_each_source_has_a_permutation_of_its_own():
    found = Mixture({"a": Numbers(50), "b": Numbers(50)}, seed=0).span(0, 60)
    first, second = ([record for name, record in found if name == wanted][:20] for wanted in "ab")
    assert first != second


def test_without_weights_all_samples_are_alike():
    counts = Counter(Mixture({"a": Numbers(10), "b": Numbers(30)}, seed=0).span(0, 4000))
    assert len(counts) == 40
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize(
    ("weights", "words"),
    [({"a": 1.0}, "a number above 0 for each of: a, b"), ({"a": 1.0, "b": 0.0}, "does not fit")],
)
def test_wrong_weights(weights, words):
    with pytest.raises(ConfigError, match=words):
        Mixture({"a": Numbers(1), "b": Numbers(1)}, weights)


def test_an_empty_source():
    with pytest.raises(ConfigError, match="no samples: b"):
        Mixture({"a": Numbers(1), "b": Numbers(0)})
