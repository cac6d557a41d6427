"""Tables on a screen: one style for all, and at every width whole names and numbers."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

LETTERS, WORD = 12, 24
"""Of a column of words at least so many letters stand in a line; no word of up to so many is broken."""
BESIDE = 3
"""Where fewer rows would stand beside each other as columns, each stands below its name."""
_BELOW = box.Box("    \n    \n ── \n    \n ╌╌ \n    \n    \n    \n")
"""SIMPLE_HEAD with a line between rows, in whose place the next row's name stands."""


@dataclass
class Listing:
    """Rows with columns, the first of which names what a row is about.

    Where the columns do not fit beside each other their headings are broken between words, then rows become
    columns, in as many blocks as they need; where names are so long that few would stand beside each other,
    each has a line of its own, with its cells below. Names and numbers are never cut or wrapped. Cells are
    rich's markup.
    """

    title: str
    columns: Sequence[str]
    words: Sequence[str] = ()
    """Columns of words, which may wrap and stand on the left; the others hold numbers, on the right."""
    left: Sequence[str] = ()
    """Further columns that stand on the left, whole."""
    rows: list[tuple[Sequence[str], str | None]] = field(default_factory=list)
    """Cells, and the row's style."""
    sections: set[int] = field(default_factory=set)
    """Numbers of rows behind which a section ends."""

    def add(self, *cells: str, style: str | None = None) -> None:
        """Adds a row."""
        self.rows.append((cells, style))

    def end_section(self) -> None:
        """Draws a line behind the last row."""
        self.sections.add(len(self.rows) - 1)

    def show(self, console: Console) -> None:
        """Prints it in the width that there is."""
        for part in self.drawn(console):
            console.print(part, soft_wrap=isinstance(part, _BelowNames))

    def drawn(self, console: Console) -> Sequence[RenderableType]:
        """It as tables that fit into the width that there is."""
        for table in (self._table(), self._table(narrow=True)):
            if _least(table, console) <= console.width:
                return [table]
        below_names = self._below_names(console)
        for blocks in range(1, len(self.rows)):
            if below_names and blocks > 1 and len(self.rows) / blocks < BESIDE:
                return below_names
            rows = math.ceil(len(self.rows) / blocks)
            turned = [self._turned(first, first + rows) for first in range(0, len(self.rows), rows)]
            if all(_least(table, console) <= console.width for table in turned):
                return turned
        if len(self.rows) == 1:
            beside = facts(self.title, list(zip(self.columns, self.rows[0][0], strict=True)), across=2)
            if _least(beside, console) <= console.width:
                return [beside]
        if below_names:
            return below_names
        name, *others = self.columns
        blocks_of_lines: list[RenderableType] = []
        for number, (cells, _) in enumerate(self.rows):
            title = self.title if not number else ""
            rest = [(other, cell) for other, cell in zip(others, cells[1:], strict=False) if cell]
            blocks_of_lines.append(facts(title, [(name, cells[0]), *rest]))
        return blocks_of_lines

    def _below_names(self, console: Console) -> Sequence[RenderableType]:
        """Each row below its name, or nothing: too little is there to be below, or it does not fit either."""
        rows = [(cells[1:], style) for cells, style in self.rows]
        table = Listing("", self.columns[1:], self.words, self.left, rows)._table(narrow=True)
        if len(rows) < 2 or len(self.columns) < 3 or _least(table, console) > console.width:
            return []
        table.box, table.show_lines = _BELOW, True
        title = [Text.from_markup(self.title, style="table.title")] if self.title else []
        names = [Text.from_markup(cells[0], style=style or "bold") for cells, style in self.rows]
        return [*title, _BelowNames(table, Text(self.columns[0], style="bold"), names)]

    def _table(self, narrow: bool = False) -> Table:
        table = Table(title=_whole(self.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, name in enumerate(self.columns):
            cells = [row[number] for row, _ in self.rows]
            widest = max(Text.from_markup(part).cell_len for part in [*name.split(), *cells])
            heading = textwrap.fill(name, widest, break_on_hyphens=False) if narrow else name
            if name in self.words:
                texts = [Text.from_markup(cell) for cell in [name, *cells]]
                words = (len(word) for text in texts for word in text.plain.split())
                least = max(
                    min(LETTERS, max(text.cell_len for text in texts)), min(WORD, max(words, default=0))
                )
                table.add_column(heading, overflow="fold", min_width=least)
            else:
                left = not number or name in self.left
                table.add_column(heading, justify="left" if left else "right", no_wrap=True)
        for number, (row, style) in enumerate(self.rows):
            table.add_row(*row, style=style, end_section=number in self.sections)
        return table

    def _turned(self, first: int, end: int) -> Table:
        """Some of the rows, as columns."""
        table = Table(
            title=_whole("" if first else self.title),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column(self.columns[0], no_wrap=True)
        rows = [row for row, _ in self.rows[first:end]]
        for row in rows:
            table.add_column(row[0], justify="right", no_wrap=True)
        for number, name in enumerate(self.columns[1:], 1):
            table.add_row(name, *(row[number] for row in rows))
        return table


class _BelowNames:
    """A table with a line between rows, in whose place each row's name stands, whole however long."""

    def __init__(self, table: Table, heading: Text, names: Sequence[Text]) -> None:
        self.table = table
        self.heading = heading
        self.names = names

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        names = iter(self.names)
        yield from console.render(self.heading, options)
        for line in console.render_lines(self.table, console.options, pad=False)[1:]:
            drawn = "".join(segment.text for segment in line).strip()
            is_between = bool(drawn) and not drawn.strip("╌ ")
            if not is_between:
                yield from line
                yield Segment.line()
            if is_between or (drawn and not drawn.strip("─ ")):
                yield from console.render(next(names), options)


def listing_of(title: str, rows: Sequence[Any]) -> Listing:
    """Rows of one dataclass: a column for each of its fields, called as the field is."""
    names = [each.name for each in fields(rows[0])]
    columns = [name.replace("_", " ") for name in names]
    table = Listing(title, columns, words=columns[:1])
    for row in rows:
        table.add(*(_cell(getattr(row, name)) for name in names))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value < 10 else f"{value:.0f}"
    return escape(str(value))


def facts(title: str, rows: Sequence[tuple[str, str]], across: int = 1) -> Table:
    """What is said of one thing: names and values, `across` of them a line; values wrap between words."""
    table = Table(
        title=_whole(title), title_justify="left", box=box.SIMPLE, show_header=False, pad_edge=False
    )
    for _ in range(across):
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
    lines = math.ceil(len(rows) / across)
    for line in range(lines):
        table.add_row(*(cell for row in rows[line::lines] for cell in row))
    return table


def _whole(title: str) -> Text | None:
    """A title that a narrow table does not wrap: what is to be copied from it stays in one piece."""
    return Text.from_markup(title, style="table.title", overflow="ignore") if title else None


def _least(table: Table, console: Console) -> int:
    """Columns that a table needs where no name and no number is cut."""
    needed = 3 * len(table.columns) - 1  # a space on either side, and one between, but none at the edges
    for column in table.columns:
        cells = (*column.cells, column.header)
        widest = max(Measurement.get(console, console.options, cell).maximum for cell in cells)
        needed += min(widest, column.min_width or widest)
    return needed
