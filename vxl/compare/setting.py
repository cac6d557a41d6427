"""Members that differ by seed alone are one setting: its score has two errors, of questions and of seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vxl.compare.differences import last
from vxl.compare.member import Cost, Member
from vxl.compare.score import Score, is_within, score_text
from vxl.errors import DataError
from vxl.statistics import Interval, OverSeeds, Spread, over_seeds, spread


@dataclass(frozen=True)
class Reached:
    """A setting's score on one benchmark, over its seeds."""

    mean: float
    interval: Interval | None
    """95 %, of questions, and of seeds where there are several."""
    of_questions: Interval | None
    """95 %, of the questions alone."""
    seeds: Spread
    score: Score
    """Of the first seed: the metric, chance, protocol."""
    over: OverSeeds | None = None
    """None where seeds were asked different questions, or single answers are not known."""

    def text(self) -> str:
        """`53.1 % [44.5, 61.6]`."""
        scale = self.score.scale
        text = score_text(self.mean, scale)
        if self.interval is None:
            return text
        return f"{text} [{scale * self.interval.low:.1f}, {scale * self.interval.high:.1f}]"

    @property
    def is_at_chance(self) -> bool:
        """Whether its interval holds what guessing reaches."""
        return is_within(self.score.chance, self.interval)

    def beside_chance(self) -> str:
        """` (chance 25.0 %)`, and whether that lies in the interval; empty where it is not known."""
        if self.score.chance is None:
            return ""
        chance = self.score.text(self.score.chance)
        return f" (at chance: {chance})" if self.is_at_chance else f" (chance {chance})"


@dataclass(frozen=True, eq=False)
class Setting:
    """One set of values of the differing keys, the seed left out."""

    differences: dict[str, str]
    members: list[Member]
    many: bool
    """Whether other settings have the same differences, so that a name must say the run."""

    @cached_property
    def name(self) -> str:
        """`ratio=4 kv=snapkv`; a run's name where no key differs."""
        words = " ".join(f"{last(key)}={value}" for key, value in self.differences.items() if value != "-")
        if words and not self.many and len(self.differences) <= 3:
            return words
        if len(self.members) == 1:
            return self.members[0].name
        return words or f"{len(self.members)} seeds"

    @property
    def finished(self) -> list[Member]:
        """Members whose training is done."""
        return [member for member in self.members if member.status == "finished"]

    @property
    def scored(self) -> bool:
        """Whether any member has a score."""
        return any(member.scores for member in self.members)

    def cost(self, cost: Cost, benchmark: str) -> float | None:
        """The members' mean, on the axis' scale."""
        value = cost.of(benchmark)
        numbers = [number for member in self.members if (number := value(member)) is not None]
        return cost.scale * statistics.fmean(numbers) if numbers else None

    def reached(self, benchmark: str) -> Reached | None:
        """Its score on a benchmark; None where it has none."""
        return self._reached.get(benchmark)

    @cached_property
    def _reached(self) -> dict[str, Reached]:
        names = dict.fromkeys(name for member in self.members for name in member.scores)
        return {name: reached([m.scores[name] for m in self.members if name in m.scores]) for name in names}

    def plain(self) -> list[dict[str, Any]]:
        """For JSON: a row a benchmark."""
        return [
            {
                "setting": self.name,
                **self.differences,
                "benchmark": name,
                "metric": reached.score.metric,
                "mean": reached.mean,
                "low": reached.interval.low if reached.interval else None,
                "high": reached.interval.high if reached.interval else None,
                "seeds": reached.seeds.count,
                "seeds_deviation": reached.seeds.deviation,
                "questions": reached.score.questions,
                "chance": reached.score.chance,
                "majority": reached.score.majority,
            }
            for name, reached in self._reached.items()
        ]


def reached(scores: Sequence[Score]) -> Reached:
    """The score of one setting from those of its seeds."""
    first = scores[0]
    seeds = spread([score.mean for score in scores])
    if len(scores) == 1 and not first.units:
        return Reached(first.mean, first.interval, first.interval, seeds, first)
    try:
        if not all(score.units for score in scores):
            raise DataError("a report holds no single answers")
        result = over_seeds(
            [score.units for score in scores], macro=first.macro, bounded=first.scale == 100.0
        )
    except DataError:
        return Reached(seeds.mean, None, None, seeds, first)
    return Reached(seeds.mean, result.interval, result.estimate.interval, seeds, first, result)


def settings_of(members: Sequence[Member]) -> list[Setting]:
    """Members that differ by seed alone, together, in the order in which the settings first appear."""
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        own = tuple((key, value) for key, value in member.differences.items() if key != "seed")
        # Without a seed among the differences, members that are equal in all keys are different runs.
        apart = None if "seed" in member.differences else (member.run.name, member.change)
        groups.setdefault((own, apart), []).append(member)
    names = [own for own, _ in groups]
    return [
        Setting(dict(own), same_members, names.count(own) > 1) for (own, _), same_members in groups.items()
    ]
