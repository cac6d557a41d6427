"""How a comparison reads: which numbers, in which order, as a table of results and tables of costs."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape

from vxl.compare.alike import alike
from vxl.compare.comparison import Comparison
from vxl.compare.differences import last
from vxl.compare.fairness import warnings
from vxl.compare.member import RESULTS, Column, Member
from vxl.compare.pairs import Pair
from vxl.compare.words import sentences, why_identical
from vxl.statistics import Spread
from vxl.table import Listing
from vxl.terminal.screen import prose


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the tables, what they come to in words, and every paired difference."""
    for table in tables(comparison, comparison.title):
        table.show(console)
    if comparison.constants:
        said = f"the same for all: {', '.join(comparison.constants)}"
        prose(console, said)
    words_of_options: dict[str, list[str]] = {}
    for one in alike(comparison.members, comparison.keys):
        words_of_options.setdefault(", ".join(one.options) or "all", []).append(str(one))
    for options, words in words_of_options.items():
        prose(console, f"with {options}: {', '.join(words)}")
    for pair in comparison.pairs:
        prose(console, paired(pair, comparison.tests))
    for sentence in sentences(comparison):
        prose(console, str(sentence), style="bold")
    for warning in warnings(comparison):
        prose(console, f"caution: {warning}", style="yellow")
    for member in comparison.members:
        if member.run.failure is not None:
            prose(console, f"{member.name} failed: {member.run.failure}", style="red")


def paired(pair: Pair, tests: int) -> str:
    """`clips: ratio=16 -1.2 points against ratio=4 (95 %: -3.0 to +0.6; p = 0.1, of 3 together 0.2)`.

    Args:
        pair: The comparison.
        tests: How many are shown together.
    """
    name, base = pair.other.name, pair.base.name
    if pair.test is None:
        return f"{pair.benchmark}: {name} is not paired with {base}: {pair.reason}"
    if pair.identical:
        why = why_identical(pair)
        why = f" ({why})" if why else ""
        return f"{pair.benchmark}: {name} has the same score as {base} on every question{why}"
    text = f"{pair.benchmark}: {name} {100 * pair.test.estimate.mean:+.1f} points against {base} ("
    if pair.interval is not None:
        seeds = max(len(pair.base.members), len(pair.other.members)) > 1
        text += f"95 %, by video{' and seed' if seeds else ''}: "
        text += f"{100 * pair.interval.low:+.1f} to {100 * pair.interval.high:+.1f}; "
    mcnemar = "" if pair.test.mcnemar is None else f"McNemar p = {pair.test.mcnemar:.2g}, "
    together = f", corrected for {tests} comparisons {pair.adjusted:.2g}" if tests > 1 else ""
    return f"{text}{mcnemar}p = {pair.p_value:.2g}{together})"


BESIDE = 3
"""Keys that may stand beside the results; where more differ, they stand below, a row each."""


MANY = 12
"""Members above which those that differ by seed alone are one row, and no rows of their own."""


def tables(comparison: Comparison, title: str) -> list[Listing]:
    """A table of results and tables of costs; unfinished members show what became of them."""
    settings = len(comparison.settings)
    if _rows(comparison) != comparison.members:
        title += f": {len(comparison.members)} members in {settings} settings (html= and csv= have each)"
    names = dict.fromkeys([RESULTS, *(column.table for column in comparison.varying)])
    listings = [
        _table(comparison, [column for column in comparison.varying if column.table == name], title, name)
        for name in names
    ]
    return [*listings, _differences(comparison)] if len(_keys(comparison)) > BESIDE else listings


def _rows(comparison: Comparison) -> list[Member]:
    """The members that have a row of their own."""
    if len(comparison.members) <= MANY:
        return comparison.members
    together = {id(m) for s in comparison.settings if len(s.finished) > 1 for m in s.finished}
    return [member for member in comparison.members if id(member) not in together]


def _keys(comparison: Comparison) -> list[str]:
    """The keys that tell rows apart."""
    return [key for key in comparison.keys if key != "seed" or _rows(comparison)]


def _differences(comparison: Comparison) -> Listing:
    """What differs, a row a key: so many columns would leave no room for the results."""
    rows = _rows(comparison)
    names = [escape(row.name) for row in rows]
    listing = Listing("differences", ("key", *names), words=names)
    for key in comparison.keys:
        listing.add(*map(escape, [key, *(row.differences[key] for row in rows)]))
    return listing


def _table(comparison: Comparison, columns: Sequence[Column], title: str, name: str) -> Listing:
    with_status = name == RESULTS
    title = title if with_status else name
    rows, keys = _rows(comparison), _keys(comparison)
    beside = keys if len(keys) <= BESIDE else []
    # Where the differences tell the members apart, their names would only repeat them.
    with_names = not beside or len({tuple(row.differences.values()) for row in rows}) < len(rows)
    left_columns = [
        *(["member"] if with_names else []),
        *map(last, beside),
        *(["status"] if with_status and rows else []),
    ]
    headings = [column.heading or column.name for column in columns]
    listing = Listing(escape(title), (*left_columns, *headings), words=("status",), left=left_columns)
    for row in rows:
        cells = [row.name] if with_names else []
        cells += [*(row.differences[key] for key in beside), *([row.state] if with_status else [])]
        for column in columns:
            number = column.value(row)
            cells.append("-" if number is None else column.text(number))
        listing.add(*map(escape, cells))
    for setting in (setting for setting in comparison.settings if len(setting.finished) > 1):
        seeds = f"{len(setting.finished)} seeds"
        cells = [seeds if rows else setting.name] if with_names else []
        cells += [setting.differences.get(key, "-" if with_names else seeds) for key in beside]
        cells += ["mean ± sd"] if with_status and rows else []
        cells += [
            _plus_minus(comparison.spread(column, setting.finished), len(setting.finished), column.text)
            for column in columns
        ]
        listing.add(*map(escape, cells), style="bold")
    return listing


def _plus_minus(spread: Spread | None, runs: int, text: Callable[[float], str]) -> str:
    """`0.53 ± 0.02`, and of how many runs where not all have the number."""
    if spread is None:
        return "-"
    of = "" if spread.count == runs else f" (of {spread.count})"
    number, _, unit = text(spread.mean).partition(" ")
    deviation, _, other = text(spread.deviation or 0.0).partition(" ")
    if unit == other:  # as many digits behind the point as the mean has
        deviation = f"{float(deviation):.{len(number.partition('.')[2])}f}"
    if not spread.deviation or (unit == other and not float(deviation)):
        return text(spread.mean) + of
    if unit != other:
        return f"{text(spread.mean)} ± {deviation} {other}{of}"
    return f"{number} ± {deviation} {unit}".strip() + of
