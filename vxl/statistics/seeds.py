"""Several training seeds of one setting: questions and seeds are two sources of error, and both count."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vxl.errors import DataError
from vxl.statistics.basic import Interval, Spread, spread
from vxl.statistics.clustered import Estimate, ItemScore, estimate, quantile


@dataclass(frozen=True)
class Error:
    """One source of error of a mean."""

    se: float
    freedom: float
    """Degrees of freedom of `se`."""


@dataclass(frozen=True)
class OverSeeds:
    """A setting's score over its seeds."""

    estimate: Estimate
    """Of every item's mean over the seeds: the error of the questions alone."""
    seeds: Spread
    """Of the seeds' scores."""

    @property
    def interval(self) -> Interval | None:
        """95 %, of questions and seeds together; None with too few clusters."""
        if self.seeds.count == 1 or self.estimate.se is None:
            return self.estimate.interval
        return around(self.estimate.mean, errors_of(self))


def over_seeds(
    seeds: Sequence[Sequence[ItemScore]], *, macro: bool = False, bounded: bool = True
) -> OverSeeds:
    """The score of one setting that was trained from several seeds.

    Args:
        seeds: The scores of each seed, on the same items.
        macro: As in `estimate`.
        bounded: As in `estimate`.

    Raises:
        DataError: The seeds were not asked the same items.
    """
    means = mean_scores(seeds)
    own = [estimate(scored, macro=macro, bounded=bounded).mean for scored in seeds]
    return OverSeeds(estimate(means, macro=macro, bounded=bounded), spread(own))


def mean_scores(seeds: Sequence[Sequence[ItemScore]]) -> list[ItemScore]:
    """Every item's mean score over the seeds.

    Raises:
        DataError: The seeds were not asked the same items.
    """
    by_key = [{item.key: item.score for item in scored} for scored in seeds]
    if any(found.keys() != by_key[0].keys() for found in by_key[1:]):
        raise DataError("a mean over seeds needs the same items of each; some seeds were asked others.")
    count = len(seeds)
    return [item._replace(score=math.fsum(one[item.key] for one in by_key) / count) for item in seeds[0]]


def errors_of(found: OverSeeds) -> list[Error]:
    """The errors of a setting's mean: of its questions, and of its seeds where there are several."""
    assert found.estimate.se is not None
    questions = Error(found.estimate.se, found.estimate.clusters - 1)
    return [questions, *seed_errors(found.seeds)]


def seed_errors(*spreads: Spread) -> list[Error]:
    """What the draw of the seeds adds to the error of a mean, or of a difference of means."""
    return [
        Error(found.deviation / math.sqrt(found.count), found.count - 1)
        for found in spreads
        if found.deviation
    ]


def around(mean: float, errors: Sequence[Error], *, bounded: bool = True) -> Interval:
    """The 95 % interval of a mean with independent errors (Welch-Satterthwaite degrees of freedom)."""
    se, freedom = together(errors)
    half = quantile(freedom + 1) * se
    low, high = mean - half, mean + half
    return Interval(max(0.0, low), min(1.0, high)) if bounded else Interval(low, high)


def together(errors: Sequence[Error]) -> tuple[float, float]:
    """(standard error, degrees of freedom) of a sum of independent errors."""
    variance = math.fsum(error.se**2 for error in errors)
    if not variance:
        return 0.0, max(error.freedom for error in errors)
    return math.sqrt(variance), variance**2 / math.fsum(error.se**4 / error.freedom for error in errors)


def t_test(mean: float, errors: Sequence[Error]) -> float:
    """Two-sided p value of a mean that should be 0."""
    from scipy.stats import t  # late: scipy takes 0.5 s, and few commands need it

    se, freedom = together(errors)
    if not se:
        return 1.0 if mean == 0 else 0.0
    return float(2 * t.sf(abs(mean) / se, freedom))
