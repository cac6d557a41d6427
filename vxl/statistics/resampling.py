"""Tests and intervals without a formula: exact, by permutation, by resampling of whole videos."""

from collections.abc import Hashable, Sequence

import numpy as np

from vxl.statistics.basic import Interval
from vxl.statistics.clustered import ItemScore

REPEATS, SEED = 10_000, 20241
"""Draws of a permutation test or a bootstrap, and the seed of them all."""
_AT_ONCE = 500
"""Draws of a bootstrap that are counted at once."""


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided McNemar test (1947): how often chance alone parts equal systems this far.

    It takes items as independent; `sign_flip` does not.
    """
    from scipy.stats import binomtest  # late: scipy takes 0.5 s, and few commands need it

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
    scored: Sequence[ItemScore], *, macro: bool = False, repeats: int = REPEATS, seed: int = SEED
) -> Interval:
    """Percentile interval (95 %) of a mean, whole clusters drawn with replacement.

    Efron & Tibshirani 1993; cluster form: Cameron, Gelbach & Miller 2008. Each draw's metric is computed
    anew: a macro average from the tasks' sums and counts, tasks that a draw lacks left out.

    Args:
        scored: The items.
        macro: Whether the metric is the unweighted mean of the strata's means.
        repeats: Draws.
        seed: Of the draws.
    """
    rows: dict[Hashable, int] = {}
    columns: dict[str, int] = {}
    for item in scored:
        rows.setdefault(item.cluster, len(rows))
        columns.setdefault(item.stratum if macro else "", len(columns))
    sums_GT, counts_GT = np.zeros((2, len(rows), len(columns)))
    for item in scored:
        place = rows[item.cluster], columns[item.stratum if macro else ""]
        sums_GT[place] += item.score
        counts_GT[place] += 1
    generator = np.random.default_rng(seed)
    values: list[float] = []
    while len(values) < repeats:
        some = min(_AT_ONCE, repeats - len(values))
        drawn_DG = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=some)
        in_draw_DT = drawn_DG @ counts_GT
        means_DT = np.divide(
            drawn_DG @ sums_GT, in_draw_DT, out=np.full_like(in_draw_DT, np.nan), where=in_draw_DT > 0
        )
        values += np.nanmean(means_DT, axis=1).tolist()
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(low), float(high))


def adjusted_by_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values of those tests that could be made; None stays None."""
    adjusted = iter(holm([p_value for p_value in p_values if p_value is not None]))
    return [None if p_value is None else next(adjusted) for p_value in p_values]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values of tests that are shown together."""
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = highest
    return adjusted
