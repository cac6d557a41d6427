"""What a member reached on a benchmark, read from its report: the headline with what it is worth."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vxl.statistics import Interval, ItemScore, estimate
from vxl.units import percent


@dataclass(frozen=True)
class Score:
    """The headline metric of one report."""

    benchmark: str
    metric: str
    mean: float
    interval: Interval | None
    """By video, or Wilson's of right answers in reports that name no videos; None where there are too few."""
    units: tuple[ItemScore, ...] = ()
    """What the metric is a mean of; none in reports of earlier releases."""
    macro: bool = False
    scale: float = 100.0
    """What a score of 1 is shown as."""
    chance: float | None = None
    majority: float | None = None
    """What always answering the most frequent letter would score."""
    questions: int = 0
    protocol: dict[str, Any] | None = None

    @cached_property
    def videos(self) -> int:
        """Videos, or whatever else answers depend on together."""
        return len({unit.cluster for unit in self.units})

    def text(self, value: float) -> str:
        """The metric for people."""
        return score_text(value, self.scale)

    @property
    def is_at_chance(self) -> bool:
        """Whether its interval holds what guessing reaches."""
        return is_within(self.chance, self.interval)

    @property
    def comparable(self) -> dict[str, Any] | None:
        """What two scores must share to be compared, model and policies left out; None: not recorded."""
        if self.protocol is None:
            return None
        own = ("checkpoint", "parts")
        answering = {name: value for name, value in self.protocol["answering"].items() if name not in own}
        return answering | self.protocol["scoring"]


def is_within(chance: float | None, interval: Interval | None) -> bool:
    """Whether an interval holds chance, both known."""
    return chance is not None and interval is not None and interval.low <= chance <= interval.high


def score_text(value: float, scale: float) -> str:
    """`53.1 %`, or points where the metric is none of per cent."""
    return percent(value) if scale == 100 else f"{scale * value:.2f}"


def score_of(name: str, report: dict[str, Any]) -> Score | None:
    """The headline of a report; None where it has none, as where only a judge could score.

    Args:
        name: Of the benchmark.
        report: As `vxl.evaluate.report.read_report` reads it.
    """
    accuracy = report.get("accuracy") or {}
    metrics = report.get("metrics") or []
    headline = metrics[0] if metrics else {}
    mean = headline.get("mean", accuracy.get("accuracy"))
    if not isinstance(mean, int | float) or math.isnan(mean):
        return None
    macro, scale = bool(headline.get("macro", False)), float(headline.get("scale", 100.0))
    units = _units(report)
    ends = accuracy.get("interval")
    interval = Interval(*ends) if ends else None
    if units:
        result = estimate(units, macro=macro, bounded=scale == 100.0)
        if math.isclose(result.mean, mean, abs_tol=1e-9):
            interval = result.interval
        else:  # written before reports kept what their headline is a mean of
            ends = headline.get("interval")
            units, interval = (), Interval(*ends) if ends else None
    majority = report.get("majority_letter") or {}
    chance = accuracy.get("chance")
    return Score(
        benchmark=name,
        metric=str(headline.get("name", "accuracy")),
        mean=float(mean),
        interval=interval,
        units=units,
        macro=macro,
        scale=scale,
        chance=chance if chance and scale == 100.0 else None,
        majority=majority.get("share") if scale == 100.0 else None,
        questions=int(accuracy.get("questions") or len(units)),
        protocol=report.get("protocol"),
    )


def _units(report: dict[str, Any]) -> tuple[ItemScore, ...]:
    """What the headline is a mean of: units of its own, or every answer."""
    if "headline_units" in report:
        return tuple(ItemScore(*unit) for unit in report["headline_units"])
    return tuple(
        ItemScore(
            item["key"],
            float(item.get("score", item["right"])),
            item.get("cluster") or item["key"],
            item.get("kind", ""),
        )
        for item in report.get("answers") or []
        if isinstance(item, dict)
    )
