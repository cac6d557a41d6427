"""What a comparison comes to, in sentences: which setting is best, by how much, at which cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vxl.compare.comparison import Comparison
from vxl.compare.member import AXES, Cost
from vxl.compare.pairs import Pair, detectable
from vxl.compare.setting import Setting


@dataclass(frozen=True)
class Sentence:
    """What one benchmark says."""

    headline: str
    details: str

    def __str__(self) -> str:
        """Both, for the terminal."""
        return f"{self.headline} {self.details}".strip()


def sentences(comparison: Comparison) -> list[Sentence]:
    """For each benchmark the best setting, by how much it is better than the base, and what it costs."""
    lines = [_best(comparison, name) for name in comparison.benchmarks]
    return [sentence for sentence in lines if sentence is not None]


def best(comparison: Comparison, benchmark: str) -> Setting | None:
    """The setting with the highest score; of equal ones the first."""
    with_score = [setting for setting in comparison.settings if setting.reached(benchmark) is not None]
    return max(with_score, key=lambda setting: _mean(setting, benchmark), default=None)


def axis_of(comparison: Comparison, benchmark: str) -> Cost | None:
    """The cost that is worth naming: the first that is known and not the same for all."""
    for cost in AXES:
        values = {setting.cost(cost, benchmark) for setting in comparison.settings} - {None}
        if len(values) > 1:
            return cost
    return None


def _best(comparison: Comparison, name: str) -> Sentence | None:
    first, base = best(comparison, name), comparison.base
    if first is None or base is None or base.reached(name) is None:
        return None
    own = first.reached(name)
    assert own is not None
    headline = f"{name}: {first.name} answers best, {own.text()}."
    if first is base:
        return Sentence(headline, _against_all(comparison, name, base))
    pair = comparison.pair(name, first)
    if pair is None or pair.test is None:
        why = "" if pair is None else f" ({pair.reason})"
        return Sentence(headline, f"It could not be paired with {base.name}{why}.")
    by = f"{100 * pair.test.estimate.mean:+.1f} points against {base.name}"
    if pair.interval is not None:
        by += f" (95 %: {100 * pair.interval.low:+.1f} to {100 * pair.interval.high:+.1f})"
    p_value, cost = _p_value(comparison, pair), _price(comparison, name, first, base)
    if pair.shown:
        return Sentence(headline, f"That is {by}, {p_value}{cost}.")
    # A winner that may be one by chance is none, and the largest letters must not say so.
    headline = f"{name}: nothing is shown to beat {base.name}; highest is {first.name}, {own.text()}."
    others = [s for s in comparison.settings if s is base or _not_worse(comparison.pair(name, s))]
    if pair.identical:
        details = f"That is the same score as {base.name} on every question{cost}."
        return Sentence(headline, details + _cheaper(comparison, name, others, than=base))
    too_small = coarse([pair])
    here = f"; {too_small} would not have shown in this comparison" if too_small else ""
    details = f"That is {by}, which may be chance ({p_value}{here}){cost}."
    return Sentence(headline, details + _cheaper(comparison, name, others, than=base))


def _against_all(comparison: Comparison, name: str, base: Setting) -> str:
    """What the base being best means for the others."""
    pairs = [pair for pair in comparison.pairs if pair.benchmark == name]
    worse = [pair.other.name for pair in pairs if pair.shown]
    same = [pair for pair in pairs if pair.test is not None and not pair.shown]
    text = "It is what the others are compared with." if pairs else ""
    if worse:
        text += f" Shown to be worse: {few(worse)}."
    if same:
        text += f" Not shown to be worse: {few([pair.other.name for pair in same])}."
        text += _cheaper(comparison, name, [pair.other for pair in same], than=base)
    return text


def _cheaper(comparison: Comparison, name: str, settings: Iterable[Setting], than: Setting) -> str:
    """The cheapest of some settings, where it is cheaper than another."""
    axis = axis_of(comparison, name)
    if axis is None:
        return ""
    priced = [(value, s) for s in settings if (value := s.cost(axis, name)) is not None]
    limit = than.cost(axis, name)
    if not priced or limit is None:
        return ""
    base = "" if comparison.base is None else comparison.base.name
    value, setting = min(priced, key=lambda pair: pair[0])
    if value >= limit:
        return ""
    return (
        f" The cheapest that is not shown to be worse than {base}: {setting.name}, {_amount(axis, value)} of "
        f"{axis.label.partition(',')[0]} instead of {_amount(axis, limit)}."
    )


def _price(comparison: Comparison, name: str, first: Setting, base: Setting) -> str:
    axis = axis_of(comparison, name)
    if axis is None:
        return ""
    values = first.cost(axis, name), base.cost(axis, name)
    if values[0] is None or values[1] is None:
        return ""
    what = axis.label.partition(",")[0]
    return f"; {what} {_amount(axis, values[0])} instead of {_amount(axis, values[1])}"


def _amount(axis: Cost, value: float) -> str:
    unit = axis.label.partition(", ")[2]
    return f"{value:.3g} {unit}".strip()


def coarse(pairs: Sequence[Pair]) -> str:
    """`differences below 5.6 points`, or `below 5.6 to 8.1 points` of several; empty: it is not known."""
    limits = detectable(pairs)
    if limits is None:
        return ""
    texts = dict.fromkeys(f"{100 * limit:.1f}" for limit in limits)
    return f"differences below {' to '.join(texts)} points"


def _p_value(comparison: Comparison, pair: Pair) -> str:
    """`p = 0.16, corrected for 22 comparisons`."""
    tests = comparison.tests
    return f"p = {pair.adjusted:.2g}" + (f", corrected for {tests} comparisons" if tests > 1 else "")


def _not_worse(pair: Pair | None) -> bool:
    return pair is not None and pair.test is not None and not (pair.shown and pair.test.estimate.mean < 0)


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _mean(setting: Setting, benchmark: str) -> float:
    score = setting.reached(benchmark)
    assert score is not None
    return score.mean
