"""A setting against another on the same questions: by how much they differ, and may it be chance?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vxl.compare.setting import Reached, Setting
from vxl.errors import DataError
from vxl.evaluate.fingerprint import unlike
from vxl.statistics import Difference, Interval, Spread, adjusted_by_holm, paired_difference, spread
from vxl.statistics.seeds import Error, around, mean_scores, seed_errors, t_test, together


@dataclass(frozen=True)
class Pair:
    """A setting against the base, on one benchmark."""

    benchmark: str
    base: Setting
    other: Setting
    test: Difference | None
    """On every question's mean over the seeds; None where the two can't be paired."""
    interval: Interval | None = None
    """95 % of the difference: by video, and of the seeds where there are several."""
    p_value: float = 1.0
    """Sign flips by video; with several seeds, Student's t with their spread where that is larger."""
    adjusted: float = 1.0
    """The same by Holm, for all that are shown together."""
    detectable: float | None = None
    """The smallest difference that 80 % of such comparisons would show."""
    reason: str | None = None
    """Why they are not paired."""

    @property
    def identical(self) -> bool:
        """Whether every single question has the same score on both sides, as a mean over the seeds."""
        return self.test is not None and self.test.identical

    @property
    def shown(self) -> bool:
        """Whether a difference is shown, at 5 % over all comparisons."""
        return self.test is not None and self.adjusted < 0.05

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "benchmark": self.benchmark,
            "setting": self.other.name,
            "against": self.base.name,
            "interval": None if self.interval is None else list(self.interval),
            "p": self.p_value,
            "p_holm": self.adjusted,
            "detectable_with_seeds": self.detectable,
            "reason": self.reason,
            "identical": self.identical,
            **({} if self.test is None else self.test.plain()),
        }


def detectable(pairs: Sequence[Pair]) -> tuple[float, float] | None:
    """(least, most) over comparisons of the smallest difference that each would show; None: not known."""
    known = [pair.detectable for pair in pairs if pair.detectable]
    return (min(known), max(known)) if known else None


def against(base: Setting, others: Sequence[Setting], benchmarks: Sequence[str]) -> list[Pair]:
    """Every other setting against the base, question by question; Holm over all of them.

    Settings whose protocols differ (`vxl.evaluate.fingerprint`) are not paired, and the reason is given.
    """
    pairs = []
    for name in benchmarks:
        first = base.reached(name)
        for other in others:
            second = other.reached(name)
            if first is not None and second is not None:
                pairs.append(_pair(name, base, other, first, second))
    adjusted = adjusted_by_holm([None if pair.test is None else pair.p_value for pair in pairs])
    return [
        pair if p_value is None else replace(pair, adjusted=p_value)
        for pair, p_value in zip(pairs, adjusted, strict=True)
    ]


def _pair(name: str, base: Setting, other: Setting, first: Reached, second: Reached) -> Pair:
    sides = [[m.scores[name].units for m in s.members if name in m.scores] for s in (base, other)]
    unlike_keys = _unlike(first, second)
    if not unlike_keys and not all(units for side in sides for units in side):
        return Pair(name, base, other, None, reason="single answers are not known")
    try:
        means = [mean_scores(side) if side else [] for side in sides]
    except DataError:  # of one setting's seeds already
        return Pair(name, base, other, None, reason="other questions")
    test, reason = paired_difference(*means, unlike=unlike_keys, macro=first.score.macro)
    if test is None:
        return Pair(name, base, other, None, reason=reason)
    errors = [] if test.estimate.se is None else [Error(test.estimate.se, test.estimate.clusters - 1)]
    seeds = seed_errors(*_spreads(name, base, other))
    if not errors or not seeds:
        return Pair(name, base, other, test, test.estimate.interval, test.sign_flip, 1.0, test.detectable)
    errors += seeds
    return Pair(
        name,
        base,
        other,
        test,
        around(test.estimate.mean, errors, bounded=False),
        max(test.sign_flip, t_test(test.estimate.mean, errors)),
        1.0,
        2.8 * together(errors)[0],
    )


def _spreads(name: str, base: Setting, other: Setting) -> list[Spread]:
    """What the draw of the seeds does to the difference of two settings' scores.

    Where both are evaluations of the same trainings, a seed that is good is so on both sides: what counts is
    how unlike the differences of the single trainings are.
    """
    first, second = (
        {member.run.name: member.scores[name].mean for member in setting.members if name in member.scores}
        for setting in (base, other)
    )
    if first.keys() == second.keys():
        return [spread([second[run] - first[run] for run in first])]
    return [spread(list(first.values())), spread(list(second.values()))]


def _unlike(first: Reached, second: Reached) -> list[str]:
    """In what two protocols differ besides the model; nothing where a report has none."""
    sides = [first.score.comparable, second.score.comparable]
    if sides[0] is None or sides[1] is None:
        return []
    return list(unlike(sides[0], sides[1]))
