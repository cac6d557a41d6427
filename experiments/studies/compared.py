"""One setting beside another on the same questions: the difference, and what is kept; both with intervals."""

from typing import Any

from studies.asked import Setting
from vxl.statistics import ItemScore, difference, estimate, spread
from vxl.statistics.seeds import Error, around, seed_errors, t_test

MOST = 1000.0
"""A share beyond which an interval's end is called unbounded."""


def _seed_errors(base: Setting, other: Setting, weight: float = 1.0) -> list[Error]:
    """What the draw of the seeds adds to the error of `other - weight * base`.

    Where both are evaluations of the same trainings, what counts of the seeds is how unlike their differences
    are.
    """
    first, second = [weight * value for value in base.accuracies], other.accuracies
    if base.name == other.name and base.numbers == other.numbers:
        return seed_errors(spread([b - a for a, b in zip(first, second, strict=True)]))
    return seed_errors(spread(first), spread(second))


def against(base: Setting, other: Setting) -> dict[str, Any]:
    """How far a setting is from another on the same questions, with its error of questions and seeds."""
    test = difference(base.items, other.items)
    if test.estimate.se is None:
        return {"difference": test.estimate.mean, "difference_interval": None, "p": test.sign_flip}
    errors = [Error(test.estimate.se, test.estimate.clusters - 1), *_seed_errors(base, other)]
    return {
        "difference": test.estimate.mean,
        "difference_interval": list(around(test.estimate.mean, errors, bounded=False)),
        "p": test.sign_flip if len(errors) == 1 else max(test.sign_flip, t_test(test.estimate.mean, errors)),
    }


def kept(base: Setting, other: Setting) -> dict[str, Any]:
    """What share of `base`'s accuracy above chance another has.

    The interval is Fieller's: all shares r for which `other - r * base`, both above chance, may be 0 given
    the errors of questions and seeds. Where `base` is itself not shown to be above chance the share could be
    any, and none is given.
    """
    above = [sum(setting.accuracies) / len(setting.accuracies) - setting.chance for setting in (base, other)]
    if not base.above_chance or base.interval is None:
        return {"kept": None, "kept_interval": None}
    share = above[1] / above[0]
    by_key = {item.key: item.score for item in base.items}

    def could_be(r: float) -> bool:
        mean = above[1] - r * above[0]
        parted = [
            ItemScore(item.key, item.score - r * by_key[item.key], item.cluster, item.stratum)
            for item in other.items
        ]
        found = estimate(parted, bounded=False)
        if found.se is None:
            return True
        errors = [Error(found.se, found.clusters - 1), *_seed_errors(base, other, r)]
        interval = around(mean, errors, bounded=False)
        return interval.low <= 1e-12 and interval.high >= -1e-12

    return {"kept": share, "kept_interval": [_end(could_be, share, -1), _end(could_be, share, 1)]}


def _end(could_be: Any, inside: float, direction: int) -> float | None:
    """Where what could be ends, from a share that could; None: nowhere."""
    step = 0.01
    while could_be(inside + direction * step):
        step *= 2
        if step > MOST:
            return None
    near, far = inside, inside + direction * step
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (middle, far) if could_be(middle) else (near, middle)
    return (near + far) / 2
