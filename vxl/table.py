"""Tables on a screen: one style for all, and at every width whole names and numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

LETTERS = 12
"""Of a column of words at least so many stand in a line."""


@dataclass
class Listing:
    """Rows with columns, the first of which names what a row is about.

    Where the columns do not fit beside each other their headings are broken between words, then rows become
    columns, in as many blocks as they need: names and numbers are never cut or wrapped. Cells are rich's
    markup.
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
        for table in self.drawn(console):
            console.print(table)

    def drawn(self, console: Console) -> list[Table]:
        """It as tables that fit into the width that there is."""
        for table in (self._table(), self._table("\n")):
            if _least(table, console) <= console.width:
                return [table]
        for blocks in range(1, len(self.rows)):
            rows = math.ceil(len(self.rows) / blocks)
            turned = [self._turned(first, first + rows) for first in range(0, len(self.rows), rows)]
            if all(_least(table, console) <= console.width for table in turned):
                return turned
        if len(self.rows) == 1:
            beside = facts(self.title, list(zip(self.columns, self.rows[0][0], strict=True)), across=2)
            if _least(beside, console) <= console.width:
                return [beside]
        name, *others = self.columns
        blocks_of_lines = []
        for number, (cells, _) in enumerate(self.rows):
            title = self.title if not number else ""
            rest = [(other, cell) for other, cell in zip(others, cells[1:], strict=False) if cell]
            blocks_of_lines.append(facts(title, [(name, cells[0]), *rest]))
        return blocks_of_lines

    def _table(self, between: str = " ") -> Table:
        table = Table(title=_whole(self.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, name in enumerate(self.columns):
            cells = [row[number] for row, _ in self.rows]
            heading = between.join(name.split(" "))
            if name in self.words:
                least = min(LETTERS, max(Text.from_markup(cell).cell_len for cell in [name, *cells]))
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
