"""`vxl compare SWEEP`: one row per member with its config differences, final metrics and cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vxl.evaluate.fingerprint import unlike
from vxl.evaluate.members import Column, Row, columns_of
from vxl.evaluate.report import read_report
from vxl.option.words import flatten, show
from vxl.run.find import Run
from vxl.statistics import Difference, Scored, Spread, difference, holm, spread

# Keys that differ between the members of a sweep without being what it compares.
_NOT_COMPARED = (
    "name",
    "sweep_name",
    "sweep_member",
    "dry_run",
    "on_existing",
    "paths",
    "logger",
    "debug",
    "cluster",
)


@dataclass(frozen=True)
class Comparison:
    """The members of a sweep side by side."""

    rows: list[Row]
    columns: list[Column]

    @property
    def keys(self) -> list[str]:
        """The config keys that differ."""
        return list(self.rows[0].differences) if self.rows else []

    def settings(self) -> list[tuple[dict[str, str], list[Row]]]:
        """Members that differ only by seed, together: [(their settings, the finished members)]."""
        groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
        for row in self.rows:
            setting = tuple((key, value) for key, value in row.differences.items() if key != "seed")
            groups.setdefault(setting, []).append(row)
        finished = [
            (dict(k), [row for row in rows if row.status == "finished"]) for k, rows in groups.items()
        ]
        return [(setting, rows) for setting, rows in finished if len(rows) > 1]

    def spread(self, column: Column, rows: Sequence[Row]) -> Spread | None:
        """Mean and deviation of one number over members; None where none has it."""
        values = [value for row in rows if (value := column.value(row)) is not None]
        return spread(values) if values else None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        seeds = []
        for setting, rows in self.settings():
            found = {column.name: self.spread(column, rows) for column in self.columns}
            numbers = {name: value._asdict() for name, value in found.items() if value is not None}
            seeds.append({"setting": setting, "runs": [row.run.name for row in rows], "metrics": numbers})
        return {"members": [row.plain() for row in self.rows], "over_seeds": seeds}


def compare(runs: Sequence[Run]) -> Comparison:
    """Reads the members' configs and numbers."""
    configs = [_compared(run.config) for run in runs]
    keys = differing([config for config in configs if config])
    rows = []
    for run, config in zip(runs, configs, strict=True):
        found = sorted((run.path / "evaluate").glob("*.json"))
        rows.append(
            Row(
                run=run,
                status=run.status,
                differences={_short(key): _value(key, config, run.path.name) for key in keys},
                result=run.result or dict(run.metrics),
                benchmarks={path.stem: read_report(path) for path in found},
            )
        )
    columns = [column for column in columns_of(rows) if any(column.value(row) is not None for row in rows)]
    return Comparison(rows, columns)


def differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The flat keys that every config has and whose values are not all equal, in the configs' order."""
    if not configs:
        return []
    shared = [key for key in configs[0] if all(key in config for config in configs)]
    return [key for key in shared if any(config[key] != configs[0][key] for config in configs)]


@dataclass(frozen=True)
class Against:
    """A member against the first one, on one benchmark."""

    benchmark: str
    first: Row
    other: Row
    test: Difference | None
    """None where the two can't be paired."""
    adjusted: float | None = None
    """p value of the sign flips by video, adjusted (Holm) for all that are shown together."""
    reason: str | None = None


def against_first(rows: Sequence[Row]) -> list[Against]:
    """Each later member against the first, question by question, on the questions that both were asked.

    Members whose protocols differ (`vxl.evaluate.fingerprint`) are not paired, and the reason is given.
    """
    found: list[Against] = []
    for name in dict.fromkeys(name for row in rows for name in row.benchmarks):
        answered = [(row, _scored(row.benchmarks[name])) for row in rows if name in row.benchmarks]
        first, scores = answered[0]
        for other, theirs in answered[1:]:
            parted = _unlike(first.benchmarks[name], other.benchmarks[name])
            if parted:
                reason = "another protocol: " + ", ".join(parted)
                found.append(Against(name, first, other, None, reason=reason))
            elif scores and {item.key for item in scores} == {item.key for item in theirs}:
                found.append(Against(name, first, other, difference(scores, theirs)))
    adjusted = iter(holm([pair.test.sign_flip for pair in found if pair.test is not None]))
    return [pair if pair.test is None else replace(pair, adjusted=next(adjusted)) for pair in found]


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config, flat, without the keys that only say where and under which name it ran."""
    kept = {key: value for key, value in config.items() if key not in _NOT_COMPARED}
    return flatten(kept)


def _short(key: str) -> str:
    """`compressor.ratio` as it is typed; a part's class under the part's own name."""
    return key.removesuffix("._target_")


def _scored(report: dict[str, Any]) -> list[Scored]:
    """Each question's score and video; reports of earlier releases name no video."""
    answers = report.get("answers") or []
    return [
        Scored(item["key"], float(item.get("score", item["right"])), item.get("cluster") or item["key"])
        for item in answers
        if isinstance(item, dict)
    ]


def _unlike(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """In what two reports' protocols differ besides the model; nothing where a report has none."""
    sides = []
    for report in (first, second):
        protocol = report.get("protocol")
        if protocol is None:
            return []
        kept = {k: v for k, v in protocol["answering"].items() if k not in ("checkpoint", "parts")}
        sides.append(kept | protocol["scoring"])
    return list(unlike(*sides))


def _value(key: str, config: dict[str, Any], member: str) -> str:
    """A key's value; of a member that failed before it had a config, what its name says."""
    if key not in config:
        said = dict(part.split("=", 1) for part in member.split(",") if "=" in part)
        return said.get(last(_short(key)), "?")
    return show(config[key]).rpartition(".")[2] if key.endswith("._target_") else show(config[key])


def last(key: str) -> str:
    """`ratio` of `compressor.ratio`, as in a member's name."""
    return key.rpartition(".")[2]
