"""What a comparison comes to, in sentences: which setting is best, by how much, at which cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.member import AXES, Cost
from vxl.compare.pairs import Pair, detectable
from vxl.compare.setting import Setting
from vxl.errors import VxlError
from vxl.option.build import locate


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
    reached = own.text() + own.beside_chance()
    headline = f"{name}: {first.name} answers best, {reached}."
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
        return Sentence(headline, f"That is {by}, {p_value}{cost}.{_alone(comparison, name)}")
    # A winner that may be one by chance is none, and the largest letters must not say so.
    headline = f"{name}: nothing is shown to beat {base.name}; highest is {first.name}, {reached}."
    others = [s for s in comparison.settings if _not_worse(comparison.pair(name, s))]
    rest = _alone(comparison, name) + _cheaper(comparison, name, others, than=base)
    if pair.identical:
        why = why_identical(pair)
        details = (
            f"That is the same score as {base.name} on every question{f' ({why})' if why else ''}{cost}."
        )
        return Sentence(headline, details + rest)
    too_small = coarse([pair])
    here = f"; {too_small} would not have shown in this comparison" if too_small else ""
    details = f"That is {by}, which may be chance ({p_value}{here}){cost}."
    return Sentence(headline, details + rest)


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
        text += _alone(comparison, name)
        text += _cheaper(comparison, name, [pair.other for pair in same], than=base)
    return text


def _cheaper(comparison: Comparison, name: str, settings: Iterable[Setting], than: Setting) -> str:
    """The cheapest of some settings, where it is cheaper than another.

    A setting is none whose fall to chance the comparison would not have shown: it may be as bad as that.
    """
    axis = axis_of(comparison, name)
    if axis is None:
        return ""
    limit = than.cost(axis, name)
    if limit is None or comparison.base is None:
        return ""
    priced = [(value, s) for s in settings if (value := s.cost(axis, name)) is not None and value < limit]
    reached = than.reached(name)
    if priced and reached is not None and reached.is_at_chance:
        return (
            f" Whether a cheaper one is as good is open: {than.name} itself is not shown to be above chance."
        )
    known = [(value, s) for value, s in priced if _sees_a_fall_to_chance(comparison.pair(name, s))]
    if not known:
        unsure = " Whether a cheaper one is as good is open: even a fall to chance would not have shown."
        return unsure if priced else ""
    base = comparison.base.name
    value, setting = min(known, key=lambda pair: pair[0])
    own = setting.reached(name)
    assert own is not None
    return (
        f" The cheapest that is not shown to be worse than {base}: {setting.name}, {axis.amount(value)} of "
        f"{axis.what} instead of {axis.amount(limit)}, with {own.text()}{own.beside_chance()}."
    )


def _price(comparison: Comparison, name: str, first: Setting, base: Setting) -> str:
    axis = axis_of(comparison, name)
    if axis is None:
        return ""
    values = first.cost(axis, name), base.cost(axis, name)
    if values[0] is None or values[1] is None:
        return ""
    return f"; {axis.what} {axis.amount(values[0])} instead of {axis.amount(values[1])}"


def _sees_a_fall_to_chance(pair: Pair | None) -> bool:
    """Whether a comparison would have shown that its setting guesses; yes where every answer is the same."""
    reached = None if pair is None else pair.base.reached(pair.benchmark)
    if pair is None or reached is None:
        return False
    if pair.identical or pair.detectable is None or reached.score.chance is None:
        return True
    return pair.detectable < reached.mean - reached.score.chance


def _alone(comparison: Comparison, name: str) -> str:
    """The differences that would count as shown if each had been the only one."""
    pairs = [pair for pair in comparison.pairs if pair.benchmark == name and pair.test is not None]
    alone = sorted((p for p in pairs if p.p_value < 0.05 and not p.shown), key=lambda pair: pair.p_value)
    if not alone:
        return ""
    texts = [
        f"{p.other.name} ({100 * p.test.estimate.mean:+.1f}, p = {p.p_value:.2g})" for p in alone if p.test
    ]
    return f" Shown if it were the only comparison, but not among {comparison.tests}: {few(texts)}."


def why_identical(pair: Pair) -> str:
    """Why a setting may have the same score as the base on every question; empty where it is not known."""
    held = [_held(setting, pair.benchmark) for setting in (pair.base, pair.other)]
    if held[0] and held[0] == held[1]:
        return "its cache is as large: nothing was dropped"
    if acts_too_late(pair.other, pair.benchmark):
        return "it drops after the question was read, and an answer is one letter"
    return ""


def _held(setting: Setting, benchmark: str) -> list[float]:
    """The bytes of its members' caches, of those that are known."""
    costs = [
        member.benchmarks[benchmark].get("cost") or {}
        for member in setting.members
        if benchmark in member.scores
    ]
    return [cost["cache_bytes"] for cost in costs if "cache_bytes" in cost]


def acts_too_late(setting: Setting, benchmark: str) -> bool:
    """Whether its policy drops when an answer, a single letter, is settled: after the question was read."""
    members = [member for member in setting.members if benchmark in member.scores]
    answers = [answer for m in members for answer in m.benchmarks[benchmark].get("answers") or []]
    texts = [str(answer.get("text", "")).strip() for answer in answers if isinstance(answer, dict)]
    return (
        bool(texts)
        and all(len(text) == 1 for text in texts)
        and all(_drops_after_question(member.parts.get("kv")) for member in members)
    )


def _drops_after_question(part: Any) -> bool:
    """Whether a policy acts at the question, when its tokens have been through the model."""
    if not isinstance(part, dict) or part.get("at") != "question":
        return False
    from vxl.kv.policy import Policy  # late: torch takes 2 s, and a table without such a policy needs none

    try:
        policy = locate(str(part["_target_"]))
    except (VxlError, ImportError, AttributeError, KeyError):
        return False  # of a plug-in that is not loaded
    return issubclass(policy, Policy) and policy.before_question is Policy.before_question


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
