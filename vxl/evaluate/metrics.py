"""A benchmark's numbers: which items make up which mean, and what each is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vxl.evaluate.scoring import Graded
from vxl.statistics import bootstrap
from vxl.statistics.clustered import FEW, Estimate, ItemScore, estimate


@dataclass(frozen=True)
class Metric:
    """A mean over units: items, or groups of items that count as one."""

    name: str
    units: tuple[ItemScore, ...]
    macro: bool = False
    """Whether it is the unweighted mean of its strata's means."""
    scale: float = 100.0
    """What a score of 1 is shown as: 100 for per cent, 1 for points."""

    @property
    def estimate(self) -> Estimate:
        """Its value with errors."""
        return estimate(self.units, macro=self.macro, bounded=self.scale == 100.0)

    @property
    def bootstrap(self) -> list[float] | None:
        """95 % without a formula: whole videos drawn again and again; None where they are too few."""
        if len({unit.cluster for unit in self.units}) < FEW:
            return None
        return [round(end, 6) for end in bootstrap(self.units, macro=self.macro)]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "scale": self.scale, "macro": self.macro, **self.estimate.plain()}


def scored(graded: Sequence[Graded], score: Callable[[Graded], float] | None = None) -> tuple[ItemScore, ...]:
    """Every answer as a unit of its own, its kind being its stratum."""
    value = score or (lambda item: item.score)
    return tuple(ItemScore(item.key, value(item), item.cluster or item.key, item.kind) for item in graded)


def micro(graded: Sequence[Graded], name: str = "accuracy") -> Metric:
    """The mean over all items alike."""
    return Metric(name, scored(graded))


def macro(graded: Sequence[Graded], name: str) -> Metric:
    """The unweighted mean of the kinds' means."""
    return Metric(name, scored(graded), macro=True)


def grouped(graded: Sequence[Graded], name: str) -> dict[str, list[Graded]]:
    """Answers by the values of one label, in the values' order; an item counts under each of its values."""
    groups: dict[str, list[Graded]] = {}
    for item in graded:
        for value in item.labels.get(name, ()):
            groups.setdefault(value, []).append(item)
    return dict(sorted(groups.items(), key=lambda pair: _natural(pair[0])))


def label_names(graded: Sequence[Graded]) -> list[str]:
    """The names of the labels, in the order in which they first appear."""
    return list(dict.fromkeys(name for item in graded for name in item.labels))


def majority_share(graded: Sequence[Graded]) -> tuple[str, float] | None:
    """(the most frequent right letter, its share): what answering it always would score."""
    letters = [item.answer for item in graded if item.options]
    if not letters:
        return None
    best = max(sorted(set(letters)), key=letters.count)
    return best, letters.count(best) / len(letters)


def position_bias(graded: Sequence[Graded]) -> dict[str, tuple[float, float]]:
    """Each letter's share of the answers and of the golds: {letter: (answered, gold)}."""
    with_options = [item for item in graded if item.options]
    letters = sorted(
        {item.answer for item in with_options} | {item.parsed for item in with_options if item.parsed}
    )
    total = max(1, len(with_options))
    return {
        letter: (
            sum(item.parsed == letter for item in with_options) / total,
            sum(item.answer == letter for item in with_options) / total,
        )
        for letter in letters
    }


def letters_line(graded: Sequence[Graded]) -> list[str]:
    """One line: how often each letter was answered, and is right; none where nothing has options."""
    shares = position_bias(graded)
    parts = [
        f"{letter} {100 * answered:.0f} ({100 * gold:.0f})" for letter, (answered, gold) in shares.items()
    ]
    return ["letters answered (right), %: " + ", ".join(parts)] if parts else []


def _natural(value: str) -> tuple[int, float, str]:
    """Sort key by which 60 comes before 600."""
    try:
        return (0, float(value), "")
    except ValueError:
        return (1, 0.0, value)
