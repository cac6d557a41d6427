"""What `vxl bench all` measured, as a file: rows with the seconds of each repeat, and with which code."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vxl.errors import DataError
from vxl.units import human_size

FORMAT = 1
_NORMAL = 1.4826
"""Standard deviations in a median absolute deviation, where numbers are distributed normally."""


@dataclass(frozen=True)
class Row:
    """One thing that was timed, warm."""

    name: str
    work: int
    """How many of `unit` a repeat does."""
    unit: str
    seconds: list[float]
    """Of each repeat, in the order in which they ran."""
    peak_bytes: int | None
    """Highest memory of the GPU's allocator in any repeat; None on a CPU."""

    @property
    def median(self) -> float:
        """Seconds of a repeat."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """How far repeats lie from the median, in seconds: their median absolute deviation, scaled to what a
        standard deviation would be. One repeat that something else disturbed does not count."""
        return _NORMAL * statistics.median(abs(each - self.median) for each in self.seconds)

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.work / self.median


@dataclass(frozen=True)
class Measurements:
    """Rows of one process, on one card, at one size."""

    card: str
    """The GPU, or the processor."""
    size: str
    quick: bool
    provenance: dict[str, Any]
    rows: list[Row]

    @property
    def title(self) -> str:
        """What stands above a table of it."""
        return f"{self.card}, size={self.size}{', quick' if self.quick else ''}"

    def as_json(self) -> str:
        """What `read_measurements` reads; medians and spreads stand there for people."""
        values: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        for plain, row in zip(values["rows"], self.rows, strict=True):
            plain |= {"median_s": row.median, "spread_s": row.spread, "per_s": row.rate}
        return json.dumps(values, indent=1) + "\n"

    def command(self, out: str) -> str:
        """What measures the same again."""
        words = ["vxl bench all", *(["--quick"] if self.quick else [])]
        return " ".join([*words, *(["size=tiny"] if self.size == "tiny" else []), f"out={out}"])


def memory_of(row: Row) -> str:
    """Its peak for a table; empty where it is not known."""
    return "" if row.peak_bytes is None else human_size(row.peak_bytes)


def read_measurements(path: Path) -> Measurements:
    """Reads a file that `vxl bench all` wrote.

    Raises:
        DataError: It can't be read, or is no such file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} can't be read: {error}\n{_REMEDY}") from error
    wrong = _wrong_in(values)
    if wrong is not None:
        raise DataError(f"{path} {wrong}.\n{_REMEDY}")
    rows = [Row(**{key: row[key] for key in _OF_ROW}) for row in values["rows"]]
    return Measurements(values["card"], values["size"], values["quick"], values["provenance"], rows)


_REMEDY = "  expected: a file that  vxl bench all out=FILE  wrote"
_OF_FILE: dict[str, type] = {"card": str, "size": str, "quick": bool, "provenance": dict, "rows": list}
_OF_ROW: dict[str, Any] = {
    "name": str,
    "work": int,
    "unit": str,
    "seconds": list,
    "peak_bytes": int | None,
}


_LONGEST = 1e6
"""Seconds that no repeat takes."""


def _wrong_in(values: Any) -> str | None:
    """What makes a value of JSON no measurements, as the end of a sentence; None: they are."""
    if not isinstance(values, dict) or "format" not in values:
        return "holds no measurements"
    if values["format"] != FORMAT:
        return f"is of format {values['format']!r}, and this vxl reads {FORMAT}"
    for key, kind in _OF_FILE.items():
        if not isinstance(values.get(key), kind):
            return f"has no {key!r} as vxl writes it"
    names: set[str] = set()
    for number, row in enumerate(values["rows"]):
        if not isinstance(row, dict) or not all(isinstance(row.get(k), kind) for k, kind in _OF_ROW.items()):
            return f"has something else than a measurement as row {number}"
        if not row["seconds"] or not all(_is_time(each) for each in row["seconds"]):
            return f"has times in {row['name']!r} that are none: {str(row['seconds'])[:60]}"
        if row["name"] in names:
            return f"has two rows {row['name']!r}"
        names.add(row["name"])
    return None


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < _LONGEST
