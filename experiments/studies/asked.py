"""What the members of a study answered, read from their reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studies.member import Member, reports
from vxl.compare.score import score_of
from vxl.evaluate.report import read_report
from vxl.statistics import Interval, ItemScore, over_seeds
from vxl.statistics.seeds import mean_scores


@dataclass(frozen=True)
class Setting:
    """What the seeds of a setting answered, under one variant."""

    name: str
    variant: str
    seeds: tuple[tuple[ItemScore, ...], ...]
    numbers: tuple[int, ...]
    """Which seeds they are."""
    chance: float
    """Share of right answers of who guesses."""
    tokens: float = 0.0
    """Visual tokens of a video, as the evaluation counted them."""
    cache_bytes: float = 0.0
    """That keys and values take once a question is read, as the evaluation measured them."""
    labels: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """What else is known of each question, by its key."""

    @property
    def accuracies(self) -> list[float]:
        """Of every seed."""
        return [sum(item.score for item in one) / len(one) for one in self.seeds]

    @property
    def items(self) -> list[ItemScore]:
        """Every question's mean score over the seeds."""
        return mean_scores(self.seeds)

    @property
    def kinds(self) -> list[str]:
        """What was asked."""
        return list(dict.fromkeys(item.stratum for item in self.seeds[0]))

    @property
    def interval(self) -> Interval | None:
        """95 %, of questions and seeds."""
        return over_seeds(self.seeds).interval

    @property
    def above_chance(self) -> bool:
        """Whether its interval lies above what guessing reaches."""
        return self.interval is not None and self.interval.low > self.chance

    def of(self, *kinds: str) -> "Setting":
        """The questions of some kinds alone."""
        return replace(
            self, seeds=tuple(tuple(item for item in one if item.stratum in kinds) for one in self.seeds)
        )

    def plain(self) -> dict[str, Any]:
        """For the JSON: accuracy with its interval over questions and seeds."""
        found = over_seeds(self.seeds)
        return {
            "name": self.name,
            "variant": self.variant,
            "accuracy": found.estimate.mean,
            "interval": None if found.interval is None else list(found.interval),
            "chance": self.chance,
            "seeds": dict(zip(map(str, self.numbers), self.accuracies, strict=True)),
            "questions": found.estimate.items,
            "videos": found.estimate.clusters,
        }


Found = dict[tuple[str, str], Setting]
"""By name of the setting, and by what was changed when it was asked (empty: as it was trained)."""


def settings(members: Sequence[Member], runs: Path, benchmark: str) -> Found:
    """What is there of a study, by name and variant: what its members were asked, and nothing else that lies
    with their runs."""
    found: Found = {}
    places: dict[tuple[str, str, int], Path] = {}
    for member in members:
        for asked in member.asked:
            for variant, path in reports(asked, runs / member.run, benchmark).items():
                places[member.name, variant, member.seed] = path
    for (name, variant, seed), path in places.items():
        report = read_report(path) if path.exists() else {}
        score = score_of(benchmark, report)
        if score is None or not score.units:
            continue
        cost = report.get("cost") or {}
        tokens, cache = (float(cost.get(key) or 0) for key in ("visual_tokens", "cache_bytes"))
        labels = {item["key"]: item.get("labels", {}) for item in report["answers"]}
        one = Setting(name, variant, (score.units,), (seed,), float(score.chance or 0), tokens, cache, labels)
        so_far = found.get((name, variant))
        if so_far is not None:
            one = replace(so_far, seeds=(*so_far.seeds, score.units), numbers=(*so_far.numbers, seed))
        found[name, variant] = one
    return found
