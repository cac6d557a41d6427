"""Tests and intervals without a formula: exact, by permutation, by resampling of whole videos."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from vxl.statistics.basic import Interval
from vxl.statistics.clustered import ItemScore

REPEATS, SEED = 10_000, 20241
"""Draws of a permutation test or a bootstrap, and the seed of them all."""


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided McNemar test (1947): how often chance alone parts equal systems this far.

    It takes items as independent; `sign_flip` does not.
    """
    from scipy.stats import binomtest  # late: half a second that no other command needs

    differing = first_only + second_only
    return float(binomtest(first_only, differing).pvalue) if differing else 1.0


def sign_flip(sums: np.ndarray, repeats: int = REPEATS, seed: int = SEED) -> float:
    """Permutation test of a paired difference: flips the sign of whole clusters at random.

    Args:
        sums: Each cluster's sum of (weighted) differences.
        repeats: Draws.
        seed: Of the draws.
    """
    signs = np.random.default_rng(seed).integers(0, 2, size=(repeats, len(sums)), dtype=np.int8)
    drawn = np.abs((2.0 * signs - 1.0) @ sums)
    return float((1 + np.sum(drawn >= abs(sums.sum()) - 1e-12)) / (repeats + 1))


def bootstrap(
    scored: Sequence[ItemScore],
    metric: Callable[[Sequence[ItemScore]], float],
    repeats: int = REPEATS,
    seed: int = SEED,
) -> Interval:
    """Percentile interval (95 %) of any metric, whole clusters drawn with replacement.

    Cluster form: Cameron, Gelbach & Miller 2008.

    Args:
        scored: The items.
        metric: Computed anew from each draw's items.
        repeats: Draws.
        seed: Of the draws.
    """
    clusters: dict[Hashable, list[ItemScore]] = {}
    for item in scored:
        clusters.setdefault(item.cluster, []).append(item)
    groups = list(clusters.values())
    generator = np.random.default_rng(seed)
    values = [
        metric([item for n in generator.integers(0, len(groups), len(groups)) for item in groups[n]])
        for _ in range(repeats)
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values of tests that are shown together."""
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = highest
    return adjusted
