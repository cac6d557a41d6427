"""Which answers are right, and what the share of right ones is worth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vxl.evaluate.item import BenchmarkItem
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
    """The right option's letter, or the reference of a free answer."""
    text: str
    """What the model generated."""
    parsed: str | None
    """What was found in it: a letter, an interval; None where there is nothing, which counts as wrong."""
    accepted: tuple[str, ...] = ()
    """All letters that are right, where options are doubled; none: `answer` alone."""
    cluster: str = ""
    """The video; questions of one cluster are no independent evidence."""
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What else it is counted under."""
    given: float | None = None
    """Score of an answer that is more than right or wrong, such as an overlap; None for letters."""
    judged: bool = False
    """Whether only a judge can score it: it is no part of accuracies."""
    verdict: dict[str, float] | None = None
    """What the judge gave, by name; None where there is none, or none that can be read."""
    index: int = 0
    """Its place in the authors' order."""
    failed: str | None = None
    """Why there is no answer."""
    tokens: int = 0
    """Generated tokens."""

    @classmethod
    def of(
        cls,
        item: BenchmarkItem,
        text: str,
        parsed: str | None,
        *,
        accepted: tuple[str, ...] = (),
        given: float | None = None,
        tokens: int = 0,
    ) -> "Graded":
        """An item with what was found in its answer; one with a score of its own (`given`) has no options."""
        return cls(
            key=item.key,
            kind=item.kind,
            question=item.question,
            options=item.options if given is None else (),
            answer=item.gold,
            text=text,
            parsed=parsed,
            accepted=accepted,
            cluster=item.cluster,
            labels=dict(item.labels),
            given=given,
            judged=item.judged,
            index=item.index,
            tokens=tokens,
        )

    @property
    def right(self) -> bool:
        """Whether the letter found is a right one."""
        return self.parsed is not None and self.parsed in (self.accepted or (self.answer,))

    @property
    def score(self) -> float:
        """The score: 1 for right and 0 for wrong, or the one that was given."""
        return float(self.right) if self.given is None else self.given


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

    def plain(self) -> dict[str, float | int | list[float] | bool | None]:
        """For JSON."""
        return {
            "accuracy": self.share if self.total else None,
            "right": self.right,
            "questions": self.total,
            "interval": list(self.interval),
            "chance": self.chance if self.total else None,
            "beats_chance": self.beats_chance,
            "unparsed": self.unparsed,
        }


def accuracy(graded: Sequence[Graded]) -> Accuracy:
    """The accuracy over all questions alike (micro average)."""
    total = len(graded)
    chances = [len(item.accepted or (item.answer,)) / len(item.options) for item in graded if item.options]
    return Accuracy(
        right=sum(item.right for item in graded),
        total=total,
        chance=math.fsum(chances) / total if total else math.nan,
        unparsed=sum(item.parsed is None for item in graded),
    )


def by(graded: Sequence[Graded], label: Callable[[Graded], str]) -> dict[str, Accuracy]:
    """Accuracy of each group of questions, in the order in which the groups first appear."""
    groups: dict[str, list[Graded]] = {}
    for item in graded:
        groups.setdefault(label(item), []).append(item)
    return {name: accuracy(items) for name, items in groups.items()}
