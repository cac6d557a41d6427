"""Two systems on the same items: by how much they differ, and whether that could be chance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vxl.errors import DataError
from vxl.statistics.clustered import Estimate, ItemScore, by_cluster, estimate, linearised
from vxl.statistics.resampling import mcnemar, sign_flip


@dataclass(frozen=True)
class Difference:
    """Two systems on the same items: the second's score minus the first's."""

    estimate: Estimate
    """Of the differences."""
    first_only: int
    """Items that only the first has right (of scores that are 0 or 1)."""
    second_only: int
    mcnemar: float | None
    """Exact two-sided p value, which takes items as independent; None where scores are not 0 or 1."""
    sign_flip: float
    """p value of the permutation test that flips whole clusters."""

    @property
    def identical(self) -> bool:
        """Whether both have the same score on every item."""
        return self.estimate.mean == 0 and self.estimate.se_iid == 0

    @property
    def detectable(self) -> float | None:
        """The smallest difference that would have been seen in 80 % of such comparisons at 5 %."""
        return None if self.estimate.se is None else 2.8 * self.estimate.se

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "difference": self.estimate.plain(),
            "first_only": self.first_only,
            "second_only": self.second_only,
            "p_mcnemar": self.mcnemar,
            "p_sign_flip": self.sign_flip,
            "detectable": self.detectable,
        }


def paired_difference(
    first: Sequence[ItemScore],
    second: Sequence[ItemScore],
    *,
    unlike: Iterable[str] = (),
    macro: bool = False,
) -> tuple[Difference | None, str | None]:
    """Compares two systems item by item; where that can't be, says why.

    Args:
        first: Scores of one.
        second: Scores of the other.
        unlike: In what they were asked differently.
        macro: Whether strata count alike.

    Returns:
        The difference and None, or None and the reason.
    """
    if unlike_keys := list(unlike):
        return None, "another protocol: " + ", ".join(unlike_keys)
    try:
        return difference(first, second, macro=macro), None
    except DataError:
        return None, "other questions"


def difference(first: Sequence[ItemScore], second: Sequence[ItemScore], *, macro: bool = False) -> Difference:
    """Compares two systems item by item.

    Raises:
        DataError: They were not asked the same items.
    """
    others = {item.key: item for item in second}
    if others.keys() != {item.key for item in first} or len(others) != len(second):
        only = len(others.keys() ^ {item.key for item in first})
        raise DataError(
            f"a paired comparison needs the same items: got {len(first)} and {len(second)}, {only} of which "
            "only one of the two has.\n  compare results of the same benchmark, split and limit"
        )
    pairs = [(item, others[item.key]) for item in first]
    parted = [ItemScore(a.key, b.score - a.score, a.cluster, a.stratum) for a, b in pairs]
    binary = all(score in (0.0, 1.0) for a, b in pairs for score in (a.score, b.score))
    losses = sum(a.score > b.score for a, b in pairs)
    gains = sum(b.score > a.score for a, b in pairs)
    weights_I, _, _ = linearised(parted, macro)
    sums = by_cluster(parted, weights_I * np.array([item.score for item in parted]))
    return Difference(
        estimate(parted, macro=macro, bounded=False),
        losses,
        gains,
        mcnemar(losses, gains) if binary else None,
        sign_flip(sums),
    )
