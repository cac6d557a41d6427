"""Means of scores whose items are not independent: several questions about one video, macro averages.

Miller 2024, *Adding Error Bars to Evals* (arXiv 2411.00640); Liang & Zeger 1986 for the clustered variance.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vxl.errors import DataError
from vxl.statistics.basic import Interval, wilson

FEW = 10
"""With fewer clusters no clustered interval is given: their variance can't be estimated."""
_NORMAL_FROM = 40


class ItemScore(NamedTuple):
    """One item's score, with what it depends on."""

    key: str
    score: float
    """0 to 1, or any other range that all items share."""
    cluster: Hashable
    stratum: str = ""
    """Of a macro average: the task whose mean it is part of."""


@dataclass(frozen=True)
class Estimate:
    """A mean, and how far it may be from the truth."""

    mean: float
    items: int
    clusters: int
    se_iid: float
    """Standard error as if all items were independent."""
    se: float | None
    """Clustered standard error; None where there are too few clusters."""
    interval: Interval | None
    """95 %, of the clustered error; None where there are too few clusters."""

    @property
    def design_effect(self) -> float | None:
        """How much the clusters inflate the variance; None where it is not known."""
        return None if self.se is None or not self.se_iid else (self.se / self.se_iid) ** 2

    def plain(self) -> dict[str, float | int | list[float] | None]:
        """For JSON."""
        return {
            "mean": self.mean,
            "items": self.items,
            "clusters": self.clusters,
            "se_iid": self.se_iid,
            "se_clustered": self.se,
            "interval": None if self.interval is None else list(self.interval),
            "design_effect": self.design_effect,
        }


def estimate(scored: Sequence[ItemScore], *, macro: bool = False, bounded: bool = True) -> Estimate:
    """The mean of scores with its clustered standard error.

    Args:
        scored: At least one item.
        macro: Unweighted mean of the strata's means, its variance linearised: an item weighs 1 / (strata x
            items of its stratum), relative to its stratum's mean.
        bounded: Whether scores lie in [0, 1], to which the interval is then clipped.

    Raises:
        DataError: There are no items.
    """
    if not scored:
        raise DataError("the mean of no items was asked for.")
    weights_I, centred_I, mean = linearised(scored, macro)
    items = len(scored)
    influence_I = weights_I * centred_I
    iid = math.sqrt(math.fsum(influence_I**2) * items / max(1, items - 1))
    sums = by_cluster(scored, influence_I)
    clusters = len(sums)
    if clusters < FEW:
        return Estimate(mean, items, clusters, iid, None, None)
    se = math.sqrt(math.fsum(sums**2) * clusters / (clusters - 1))
    scores = {item.score for item in scored}
    if bounded and len(scores) == 1 and scores <= {0.0, 1.0}:
        return Estimate(mean, items, clusters, iid, se, wilson(round(mean * clusters), clusters))
    half = quantile(clusters) * se
    low, high = mean - half, mean + half
    if bounded:
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(mean, items, clusters, iid, se, Interval(low, high))


def quantile(clusters: float) -> float:
    """Standard errors on either side of a 95 % interval: Student's t where clusters are few."""
    from scipy.stats import t  # late: scipy takes 0.5 s, and few commands need it

    return 1.96 if clusters >= _NORMAL_FROM else float(t.ppf(0.975, clusters - 1))


def linearised(scored: Sequence[ItemScore], macro: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """(weight of each item, score relative to its mean, the metric)."""
    scores_I = np.array([item.score for item in scored], dtype=float)
    items = len(scored)
    if not macro:
        mean = math.fsum(scores_I) / items
        return np.full(items, 1 / items), scores_I - mean, mean
    strata: dict[str, list[int]] = {}
    for number, item in enumerate(scored):
        strata.setdefault(item.stratum, []).append(number)
    weights_I, centred_I, means = np.zeros(items), np.zeros(items), []
    for numbers in strata.values():
        mean = math.fsum(scores_I[numbers]) / len(numbers)
        means.append(mean)
        weights_I[numbers] = 1 / (len(strata) * len(numbers))
        centred_I[numbers] = scores_I[numbers] - mean
    return weights_I, centred_I, math.fsum(means) / len(means)


def by_cluster(scored: Sequence[ItemScore], values_I: np.ndarray) -> np.ndarray:
    """Sum of each cluster's values, in the order in which the clusters first appear."""
    numbers: dict[Hashable, int] = {}
    cluster_I = [numbers.setdefault(item.cluster, len(numbers)) for item in scored]
    return np.bincount(cluster_I, weights=values_I, minlength=len(numbers))
