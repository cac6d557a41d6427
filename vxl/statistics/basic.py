"""What a number from few questions or few seeds is worth: intervals, spreads and paired comparisons."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from vxl.errors import DataError


class Interval(NamedTuple):
    """The two ends of a confidence interval."""

    low: float
    high: float


class Spread(NamedTuple):
    """Several runs of one setting, as one number and how far they lie apart."""

    mean: float
    deviation: float | None
    """Sample standard deviation (n - 1); None for a single value, which says nothing about spread."""
    count: int


class Paired(NamedTuple):
    """Two systems on the same questions."""

    first_only: int
    """Questions that only the first answered rightly."""
    second_only: int
    """Questions that only the second answered rightly."""
    difference: float
    """Accuracy of the second minus that of the first."""
    p_value: float
    """Exact two-sided McNemar test: how often chance alone parts equal systems this far."""


def wilson(right: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion; sound for few questions and for 0 or all right.

    Args:
        right: Questions answered rightly.
        total: Questions asked; with none the interval is [0, 1].
        confidence: Share of such intervals that hold the true proportion.

    Raises:
        DataError: `right` is not between 0 and `total`.
    """
    if not 0 <= right <= total:
        raise DataError(f"{right} right answers of {total} questions are impossible; expected 0 to {total}.")
    if total == 0:
        return Interval(0.0, 1.0)
    from scipy.stats import binomtest  # late: scipy takes 0.5 s, and few commands need it

    low, high = binomtest(right, total).proportion_ci(confidence, method="wilson")
    # At 0 and at all right the exact ends are 0 and 1; rounding would leave them at 1e-17 and 0.9999.
    low = 0.0 if right == 0 else max(0.0, float(low))
    high = 1.0 if right == total else min(1.0, float(high))
    return Interval(low, high)


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation, for runs that differ only by seed.

    Raises:
        DataError: There are no values.
    """
    if not values:
        raise DataError("the mean of no values was asked for; expected at least one finished run.")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Spread(mean, math.sqrt(variance), len(values))


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """McNemar's exact test: do two systems differ on the same questions?

    Questions that both answered alike carry no information about which is better, so only the others count.

    Args:
        first: Per question, whether the first system was right.
        second: The same questions in the same order for the second system.

    Raises:
        DataError: The two lists are not of the same questions.
    """
    if len(first) != len(second):
        raise DataError(
            f"a paired test needs the same questions: got {len(first)} and {len(second)} answers."
        )
    first_only = sum(a and not b for a, b in zip(first, second, strict=True))
    second_only = sum(b and not a for a, b in zip(first, second, strict=True))
    from scipy.stats import binomtest  # late: scipy takes 0.5 s, and few commands need it

    differing = first_only + second_only
    p_value = float(binomtest(first_only, differing).pvalue) if differing else 1.0
    difference = (second_only - first_only) / len(first) if first else 0.0
    return Paired(first_only, second_only, difference, p_value)
