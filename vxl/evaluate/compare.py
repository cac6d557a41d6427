"""`vxl compare SWEEP`: one row per member with its config differences, final metrics and cost."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vxl.config.explain import flatten, show
from vxl.evaluate.statistics import Paired, Spread, paired, spread
from vxl.runs import Run, human_size

# Keys that differ between the members of a sweep without being what it compares.
_NOT_COMPARED = ("name", "sweep_name", "sweep_member", "dry_run", "on_existing", "paths", "logger", "debug")


@dataclass(frozen=True)
class Column:
    """One number of a member: where it is found and how it reads."""

    name: str
    value: Callable[["Row"], float | None]
    text: Callable[[float], str]


@dataclass(frozen=True)
class Row:
    """One member: its differences, and every number that it left."""

    run: Run
    status: str
    differences: dict[str, str]
    result: dict[str, Any]
    """RESULT.json; the latest metrics where it is not there yet."""
    benchmarks: dict[str, dict[str, Any]]
    """evaluate/<benchmark>.json by benchmark."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.run.name,
            "status": self.status,
            "differences": self.differences,
            "result": self.result,
            "benchmarks": {name: _numbers(report) for name, report in self.benchmarks.items()},
        }


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
                differences={_short(key): _value(key, config) for key in keys},
                result=run.result or dict(run.metrics),
                benchmarks={path.stem: json.loads(path.read_text()) for path in found},
            )
        )
    columns = [column for column in _columns(rows) if any(column.value(row) is not None for row in rows)]
    return Comparison(rows, columns)


def differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The flat keys that every config has and whose values are not all equal, in the configs' order."""
    if not configs:
        return []
    shared = [key for key in configs[0] if all(key in config for config in configs)]
    return [key for key in shared if any(config[key] != configs[0][key] for config in configs)]


def table(comparison: Comparison, title: str) -> Table:
    """The comparison as a table; unfinished members show what became of them."""
    made = Table(title=title, title_justify="left")
    for name in ("member", "status", *comparison.keys, *(column.name for column in comparison.columns)):
        made.add_column(name, justify="left" if name in ("member", "status") else "right")
    for row in comparison.rows:
        numbers = [column.value(row) for column in comparison.columns]
        made.add_row(
            row.run.path.name,
            _status(row),
            *row.differences.values(),
            *(
                "-" if number is None else column.text(number)
                for column, number in zip(comparison.columns, numbers, strict=True)
            ),
        )
    groups = comparison.settings()
    if groups:
        made.add_section()
    for setting, rows in groups:
        cells = [_plus_minus(comparison.spread(column, rows), column.text) for column in comparison.columns]
        values = [setting.get(key, "all") for key in comparison.keys]
        made.add_row(f"mean ± sd of {len(rows)} seeds", "", *values, *cells, style="bold")
    return made


def against_first(rows: Sequence[Row]) -> list[tuple[str, Row, Row, Paired]]:
    """McNemar's test of each later member against the first, on the questions that both were asked.

    Returns:
        [(benchmark, first, other, test)]; only members whose answers were kept and to the same questions.
    """
    found = []
    for name in dict.fromkeys(name for row in rows for name in row.benchmarks):
        answered = [(row, _rights(row.benchmarks[name])) for row in rows if name in row.benchmarks]
        first, rights = answered[0]
        for other, others in answered[1:]:
            if rights and rights.keys() == others.keys():
                test = paired(list(rights.values()), [others[key] for key in rights])
                found.append((name, first, other, test))
    return found


def show_comparison(runs: Sequence[Run], title: str, json_path: Path | None, console: Console) -> Comparison:
    """Prints the comparison, and writes it as JSON where a path is given."""
    found = compare(runs)
    console.print(table(found, title))
    for name, first, other, test in against_first(found.rows):
        console.print(
            f"{name}: {other.run.path.name} {100 * test.difference:+.1f} points against "
            f"{first.run.path.name} (paired test p = {test.p_value:.2g})",
            markup=False,
            highlight=False,
        )
    for row in found.rows:
        if row.run.failure is not None:
            console.print(f"{row.run.path.name} failed: {row.run.failure}", style="red", markup=False)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(found.plain(), indent=1) + "\n")
        console.print(f"written: {json_path}", markup=False)
    return found


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config, flat, without the keys that only say where and under which name it ran."""
    kept = {key: value for key, value in config.items() if key not in _NOT_COMPARED}
    return flatten(kept)


def _short(key: str) -> str:
    """`compressor.ratio` as it is typed; a part's class under the part's own name."""
    return key.removesuffix("._target_")


def _rights(report: dict[str, Any]) -> dict[str, bool]:
    """Whether each question was answered rightly, by its key."""
    answers = report.get("answers") or []
    return {item["key"]: item["right"] for item in answers if isinstance(item, dict)}


def _value(key: str, config: dict[str, Any]) -> str:
    text = show(config[key]) if key in config else "?"
    return text.rpartition(".")[2] if key.endswith("._target_") else text


def _columns(rows: Sequence[Row]) -> list[Column]:
    """Final metrics first, then the benchmarks, then cost."""
    columns = [
        Column("loss", lambda row: _number(row.result, "loss_last", "loss"), "{:.3f}".format),
        Column("held-out loss", lambda row: _number(row.result, "heldout_loss", "val/loss"), "{:.3f}".format),
        Column("held-out acc", lambda row: _number(row.result, "heldout_accuracy", "val/accuracy"), _percent),
    ]
    for name in dict.fromkeys(name for row in rows for name in row.benchmarks):
        columns.append(Column(name, _of(name, "accuracy", "accuracy"), _percent))
        columns += [
            Column("prefill ms", _of(name, "cost", "prefill_ms"), "{:.1f}".format),
            Column("decode tok/s", _of(name, "cost", "decode_tokens_per_s"), "{:.1f}".format),
            Column("cache", _of(name, "cost", "cache_bytes"), human_size),
            Column("peak", _of(name, "cost", "peak_memory_bytes"), human_size),
        ]
    columns += [
        Column("tokens a frame", lambda row: _number(row.result, "visual_tokens_a_frame"), "{:.3g}".format),
        Column("steps", lambda row: float(row.run.step) or None, "{:.0f}".format),
        Column("seconds", lambda row: _number(row.result, "seconds"), "{:.0f}".format),
    ]
    return columns


def _of(benchmark: str, part: str, name: str) -> Callable[[Row], float | None]:
    return lambda row: _number(row.benchmarks.get(benchmark, {}).get(part, {}), name)


def _number(values: dict[str, Any], *names: str) -> float | None:
    """The first of the names that has a number."""
    for name in names:
        value = values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def _numbers(report: dict[str, Any]) -> dict[str, Any]:
    """A benchmark's report without the single answers."""
    return {key: value for key, value in report.items() if key != "answers"}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _plus_minus(found: Spread | None, text: Callable[[float], str]) -> str:
    if found is None:
        return "-"
    return text(found.mean) + (f" ± {text(found.deviation)}" if found.deviation is not None else "")


def _status(row: Row) -> str:
    return row.status if row.status in ("finished", "failed", "new") else f"{row.status}, step {row.run.step}"
