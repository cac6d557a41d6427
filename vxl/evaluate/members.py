"""One member of a comparison: how its config differs, and the numbers that it left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vxl.run.find import Run
from vxl.units import human_size, percent


@dataclass(frozen=True)
class Column:
    """One number of a member: where it is found and how it reads."""

    name: str
    value: Callable[["Row"], float | None]
    text: Callable[[float], str]
    is_cost: bool = False


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


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Final metrics first, then the benchmarks, then cost."""
    columns = [
        Column("loss", lambda row: _number(row.result, "loss_last", "loss"), "{:.3f}".format),
        Column("held-out loss", lambda row: _number(row.result, "heldout_loss", "val/loss"), "{:.3f}".format),
        Column("held-out acc", lambda row: _number(row.result, "heldout_accuracy", "val/accuracy"), percent),
    ]
    benchmarks = dict.fromkeys(name for row in rows for name in row.benchmarks)
    columns += [Column(name, _of(name, "accuracy", "accuracy"), percent) for name in benchmarks]
    for name in benchmarks:
        label = f"{name} " if len(benchmarks) > 1 else ""
        columns += [
            Column(f"{label}prefill ms", _of(name, "cost", "prefill_ms"), "{:.1f}".format, True),
            Column(f"{label}decode tok/s", _of(name, "cost", "decode_tokens_per_s"), "{:.1f}".format, True),
            Column(f"{label}cache", _of(name, "cost", "cache_bytes"), human_size, True),
            Column(f"{label}peak", _of(name, "cost", "peak_memory_bytes"), human_size, True),
        ]
    tokens = "visual_tokens_a_frame"
    columns += [
        Column("tokens a frame", lambda row: _number(row.result, tokens), "{:.3g}".format, True),
        Column("steps", lambda row: float(row.run.step) or None, "{:.0f}".format, True),
        Column("train s", lambda row: _number(row.result, "seconds"), "{:.0f}".format, True),
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
