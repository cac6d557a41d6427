"""Which answers are right, and what the share of right ones is worth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vxl.statistics import Interval, wilson


@dataclass(frozen=True, kw_only=True)
class Graded:
    """One question with the model's answer."""

    key: str
    """The question's identity, the same in every evaluation, so that two systems can be paired."""
    kind: str
    """What is asked: a given question, "what happens at", "which comes first", counting, ..."""
    question: str
    options: tuple[str, ...]
    answer: str
    """The right option's letter."""
    text: str
    """What the model generated."""
    parsed: str | None
    """The letter found in it; None where there is none, which counts as wrong."""

    @property
    def right(self) -> bool:
        """Whether the letter found is the right one."""
        return self.parsed == self.answer


@dataclass(frozen=True)
class Accuracy:
    """Right answers among the questions of one kind."""

    right: int
    total: int
    chance: float
    """Expected share of a guesser: the mean of 1 / number of options."""
    unparsed: int
    """Answers without a letter (counted as wrong)."""

    @property
    def share(self) -> float:
        """Right answers / questions."""
        return self.right / self.total if self.total else math.nan

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of `share`."""
        return wilson(self.right, self.total)

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval lies above chance."""
        return self.interval.low > self.chance

    def plain(self) -> dict[str, float | int | list[float] | bool]:
        """For JSON."""
        return {
            "accuracy": self.share,
            "right": self.right,
            "questions": self.total,
            "interval": list(self.interval),
            "chance": self.chance,
            "beats_chance": self.beats_chance,
            "unparsed": self.unparsed,
        }


def accuracy(graded: Sequence[Graded]) -> Accuracy:
    """The accuracy over all questions alike (micro average)."""
    total = len(graded)
    chance = math.fsum(1 / len(item.options) for item in graded) / total if total else math.nan
    return Accuracy(
        right=sum(item.right for item in graded),
        total=total,
        chance=chance,
        unparsed=sum(item.parsed is None for item in graded),
    )


def by(graded: Sequence[Graded], label: Callable[[Graded], str]) -> dict[str, Accuracy]:
    """Accuracy of each group of questions, in the order in which the groups first appear."""
    groups: dict[str, list[Graded]] = {}
    for item in graded:
        groups.setdefault(label(item), []).append(item)
    return {name: accuracy(items) for name, items in groups.items()}
