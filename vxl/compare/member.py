"""One member of a comparison: a run, or one evaluation of it under changed parts, and the numbers it left."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vxl.compare.score import Score
from vxl.evaluate.work.changes import shown
from vxl.run.find import Run
from vxl.units import MIB, human_size, percent, significant

"""Bytes of a mebibyte."""


RESULTS = "results"


@dataclass(frozen=True)
class Column:
    """One number of a member: where it is found and how it reads."""

    name: str
    value: Callable[["Member"], float | None]
    text: Callable[[float], str]
    table: str = RESULTS
    """Where it stands: among the results, or in a table of costs."""
    heading: str = ""
    """Its name there."""

    @property
    def is_cost(self) -> bool:
        """Whether less of it is better, as far as that can be said."""
        return self.table != RESULTS


@dataclass(frozen=True)
class Member:
    """A run as it was trained, or under the parts that an evaluation changed."""

    run: Run
    status: str
    differences: dict[str, str]
    """The keys in which the members differ, with this one's values."""
    result: dict[str, Any]
    """RESULT.json; the latest metrics where it is not there yet."""
    benchmarks: dict[str, dict[str, Any]]
    """The reports of its evaluations, by benchmark."""
    scores: dict[str, Score] = field(default_factory=dict)
    """What it reached, by benchmark."""
    change: str = ""
    """What the evaluation changed; empty for the model as it was trained."""

    @cached_property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return self.run.step

    @cached_property
    def name(self) -> str:
        """`ratio=4,seed=0`, and what was changed at evaluation."""
        return f"{self.run.path.name} {shown(self.change)}".strip()

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The model's parts as they were evaluated; as trained where no report says it."""
        return parts_of(self.benchmarks) or self.run.config

    @property
    def state(self) -> str:
        """The status, with the step where the run is not done."""
        is_plain = self.status in ("finished", "failed", "new")
        return self.status if is_plain else f"{self.status}, step {self.steps}"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.run.name,
            "change": self.change,
            "status": self.status,
            "differences": self.differences,
            "result": self.result,
            "benchmarks": {name: _numbers(report) for name, report in self.benchmarks.items()},
        }


def parts_of(reports: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The parts that an evaluation ran with, as its reports' protocol has them; empty where none has."""
    for report in reports.values():
        parts = ((report.get("protocol") or {}).get("answering") or {}).get("parts")
        if isinstance(parts, dict):
            return parts
    return {}


def columns_of(members: Sequence[Member]) -> list[Column]:
    """Final metrics first, then the benchmarks, then cost."""
    columns = [
        Column("loss", lambda m: _number(m.result, "loss_last", "loss"), "{:.3f}".format),
        Column("held-out loss", lambda m: _number(m.result, "heldout_loss", "val/loss"), "{:.3f}".format),
        Column("held-out acc", lambda m: _number(m.result, "heldout_accuracy", "val/accuracy"), percent),
    ]
    benchmarks = benchmarks_of(members)
    for name in benchmarks:
        texts = {m.scores[name].text for m in members if name in m.scores}
        columns.append(Column(name, _mean(name), next(iter(texts)) if len(texts) == 1 else percent))
    for name in benchmarks:
        label, table = (f"{name} ", f"{name}: cost of a question") if len(benchmarks) > 1 else ("", "cost")
        columns += [
            Column(f"{label}{cost.name}", cost.of(name), cost.text, table, cost.name)
            for cost in COSTS
            if cost.asked
        ]
    columns += [
        Column(cost.name, cost.of(""), cost.text, "cost", cost.name) for cost in COSTS if not cost.asked
    ]
    return [column for column in columns if any(column.value(member) is not None for member in members)]


def benchmarks_of(members: Sequence[Member]) -> list[str]:
    """Every benchmark that any member was asked."""
    return list(dict.fromkeys(name for member in members for name in member.benchmarks))


@dataclass(frozen=True)
class Cost:
    """Something that a member costs, and how it is found."""

    name: str
    label: str
    """With the unit, for an axis."""
    key: str
    """In a report's `cost`, or in RESULT.json."""
    text: Callable[[float], str]
    asked: bool = True
    """Whether answering costs it, and not training."""
    scale: float = 1.0
    """What an axis shows of a value."""

    @property
    def what(self) -> str:
        """The label without its unit."""
        return (self.label or self.name).partition(", ")[0]

    def amount(self, value: float) -> str:
        """A value on the axis' scale with its unit, as everywhere: `0.228 MiB`."""
        if self.text is human_size:
            return human_size(value / self.scale)
        return f"{significant(value)} {self.label.partition(', ')[2]}".strip()

    def of(self, benchmark: str) -> Callable[[Member], float | None]:
        """What a member costs while it answers a benchmark."""
        if self.key == "tokens a frame":
            return lambda member: _tokens_a_frame(member, benchmark)
        if self.key == "steps":
            return lambda member: float(member.steps) or None
        if not self.asked:
            return lambda member: _number(member.result, self.key)
        return lambda member: _number(member.benchmarks.get(benchmark, {}).get("cost", {}), self.key)


COSTS = (
    Cost("prefill ms", "prefill, ms", "prefill_ms", "{:.1f}".format),
    Cost("first token ms", "time to first token, ms", "first_token_ms", "{:.1f}".format),
    Cost("decode tok/s", "", "decode_tokens_per_s", "{:.1f}".format),
    Cost("cache", "cache, MiB", "cache_bytes", human_size, scale=1 / MIB),
    Cost("peak", "peak memory, MiB", "peak_memory_bytes", human_size, scale=1 / MIB),
    Cost("tokens a frame", "visual tokens a frame", "tokens a frame", "{:.3g}".format, asked=False),
    Cost("steps", "", "steps", "{:.0f}".format, asked=False),
    Cost("train s", "training, s", "seconds", "{:.0f}".format, asked=False),
)
AXES = tuple(
    next(cost for cost in COSTS if cost.name == name)
    for name in ("cache", "tokens a frame", "first token ms", "peak", "train s")
)
"""The costs that scores are drawn against, the default first."""


def _tokens_a_frame(member: Member, benchmark: str) -> float | None:
    """As evaluated on a benchmark, else as trained."""
    cost = member.benchmarks.get(benchmark, {}).get("cost", {})
    tokens, frames = _number(cost, "visual_tokens"), _number(cost, "frames")
    if tokens is not None and frames:
        return tokens / frames
    return _number(member.result, "visual_tokens_a_frame")


def _mean(benchmark: str) -> Callable[[Member], float | None]:
    return lambda member: member.scores[benchmark].mean if benchmark in member.scores else None


def _number(values: dict[str, Any], *names: str) -> float | None:
    """The first of the names that has a number."""
    for name in names:
        value = values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def _numbers(report: dict[str, Any]) -> dict[str, Any]:
    """A benchmark's report without the single answers."""
    return {key: value for key, value in report.items() if key not in ("answers", "headline_units")}
