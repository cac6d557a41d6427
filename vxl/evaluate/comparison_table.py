"""How a comparison reads: which numbers, in which order, as a table of results and one of costs."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vxl.evaluate.compare import Against, Comparison, against_first, compare, last
from vxl.evaluate.members import Column, Row
from vxl.run.find import Run
from vxl.statistics import Spread


def show_comparison(runs: Sequence[Run], title: str, json_path: Path | None, console: Console) -> Comparison:
    """Prints the comparison, and writes it as JSON where a path is given."""
    found = compare(runs)
    for table in tables(found, title):
        console.print(table)
    for pair in against_first(found.rows):
        console.print(_paired(pair), markup=False, highlight=False)
    for row in found.rows:
        if row.run.failure is not None:
            console.print(f"{row.run.path.name} failed: {row.run.failure}", style="red", markup=False)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(found.plain(), indent=1) + "\n")
        console.print(f"written: {json_path}", markup=False)
    return found


def _paired(pair: Against) -> str:
    """`clips: ratio=16 -1.2 points against ratio=4 (95 %: -3.0 to +0.6, p = 0.2)`."""
    name, base = pair.other.run.path.name, pair.first.run.path.name
    if pair.test is None:
        return f"{pair.benchmark}: {name} is not paired with {base}: {pair.reason}"
    found = pair.test.estimate
    text = f"{pair.benchmark}: {name} {100 * found.mean:+.1f} points against {base} ("
    if found.interval is not None:
        text += f"95 %, by video: {100 * found.interval.low:+.1f} to {100 * found.interval.high:+.1f}; "
    mcnemar = "" if pair.test.mcnemar is None else f"McNemar p = {pair.test.mcnemar:.2g}, "
    return f"{text}{mcnemar}sign flips by video p = {pair.adjusted:.2g})"


BESIDE = 3
"""Keys that may stand beside the results; where more differ, they stand below, a row each."""


def tables(comparison: Comparison, title: str) -> list[Table]:
    """The comparison as a table of results and one of costs; unfinished members show what became of them."""
    made = [
        _table(comparison, columns, title if not is_cost else "cost", with_status=not is_cost)
        for is_cost in (False, True)
        if (columns := [column for column in comparison.columns if column.is_cost == is_cost]) or not is_cost
    ]
    return [*made, _differences(comparison)] if len(comparison.keys) > BESIDE else made


def _differences(comparison: Comparison) -> Table:
    """What differs, a row a key: so many columns would leave no room for the results."""
    made = Table(title="differences", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("key", overflow="fold")
    for row in comparison.rows:
        made.add_column(escape(row.run.path.name), overflow="fold")
    for key in comparison.keys:
        made.add_row(*map(escape, [key, *(row.differences[key] for row in comparison.rows)]))
    return made


def _table(comparison: Comparison, columns: Sequence[Column], title: str, with_status: bool) -> Table:
    made = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    beside = comparison.keys if len(comparison.keys) <= BESIDE else []
    # Where the differences tell the members apart, their names would only repeat them.
    named = not beside or (
        len({tuple(row.differences.values()) for row in comparison.rows}) < len(comparison.rows)
    )
    left = [
        *(["member"] if named else []),
        *map(last, beside),
        *(["status"] if with_status else []),
    ]
    for name in left:
        made.add_column(name, no_wrap=name != "status")
    for column in columns:
        made.add_column(column.name, justify="right")
    for row in comparison.rows:
        cells = [row.run.path.name] if named else []
        cells += [*(row.differences[key] for key in beside), *([_status(row)] if with_status else [])]
        for column in columns:
            number = column.value(row)
            cells.append("-" if number is None else column.text(number))
        made.add_row(*map(escape, cells))
    groups = comparison.settings()
    if groups:
        made.add_section()
    for setting, rows in groups:
        seeds = f"{len(rows)} seeds"
        cells = [seeds] if named else []
        cells += [setting.get(key, "-" if named else seeds) for key in beside]
        cells += ["mean ± sd"] if with_status else []
        cells += [_plus_minus(comparison.spread(column, rows), len(rows), column.text) for column in columns]
        made.add_row(*map(escape, cells), style="bold")
    return made


def _plus_minus(found: Spread | None, runs: int, text: Callable[[float], str]) -> str:
    """`0.53 ± 0.02`, and of how many runs where not all have the number."""
    if found is None:
        return "-"
    of = "" if found.count == runs else f" (of {found.count})"
    number, _, unit = text(found.mean).partition(" ")
    deviation, _, other = text(found.deviation or 0.0).partition(" ")
    if not found.deviation or (unit == other and not float(deviation)):
        return text(found.mean) + of
    if unit != other:
        return f"{text(found.mean)} ± {deviation} {other}{of}"
    return f"{number} ± {deviation} {unit}".strip() + of


def _status(row: Row) -> str:
    return row.status if row.status in ("finished", "failed", "new") else f"{row.status}, step {row.run.step}"
