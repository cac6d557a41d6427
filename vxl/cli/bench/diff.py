"""`vxl bench diff OLD NEW`: which rows became slower by more than their noise.

A row's noise is the larger of two numbers: three times the spread of its repeats, both files' together (the
root of the sum of their squares; a spread is the scaled median absolute deviation), and `floor=` per cent of
the old time. Medians move between two processes that measure the same code, whatever each one's repeats say
of it: with a card's clock, its temperature and the order of allocations by a few per cent (3, unless it is
said); of milliseconds on a processor that others use, too, by up to half (50). A row is slower if its median
rose by more than its noise, faster if it fell by more.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from vxl.cli.bench.measurements import Measurements, Row, memory_of, read_measurements
from vxl.cli.words import Words
from vxl.errors import ConfigError, DataError
from vxl.table import Listing
from vxl.terminal.screen import Screen, prose
from vxl.units import significant

SPREADS = 3.0
"""How many spreads of both files together a change has to exceed."""
FLOORS = {"published": 3.0, "tiny": 50.0}
"""Per cent of the old time that it has to exceed, too, at each size."""
_USAGE = "  type  vxl bench diff OLD.json NEW.json"


@dataclass(frozen=True)
class Change:
    """A row that both files have."""

    old: Row
    new: Row
    floor: float
    """Per cent of the old time below which nothing is a change."""

    @property
    def percent(self) -> float:
        """By how much the median rose, of the old one."""
        return 100 * (self.new.median / self.old.median - 1)

    @property
    def noise(self) -> float:
        """What `percent` has to exceed, either way."""
        together = math.hypot(self.old.spread, self.new.spread)
        return max(self.floor, 100 * SPREADS * together / self.old.median)

    @property
    def verdict(self) -> Literal["slower", "faster", "same"]:
        """What became of it."""
        if abs(self.percent) <= self.noise:
            return "same"
        return "slower" if self.percent > 0 else "faster"


def run_diff(words: Words) -> int:
    """Carries out the command; exit status 1 where something became slower.

    Raises:
        ConfigError: Two files are not named, or they were not measured alike.
        DataError: A file can't be read.
    """
    words.take("debug")
    floor = _floor_of(words.take("floor"))
    words.refuse_rest("bench diff", ("floor",))
    if len(words.rest) != 2:
        raise ConfigError(f"vxl bench diff needs two files, and got {len(words.rest)}.\n{_USAGE}")
    old_path, new_path = (Path(word).expanduser() for word in words.rest)
    old, new = read_measurements(old_path), read_measurements(new_path)
    changes = compared(old, new, floor, names=(old_path.name, new_path.name))
    return show_changes(old, new, changes, Screen())


def compared(
    old: Measurements,
    new: Measurements,
    floor: float | None = None,
    names: tuple[str, str] = ("OLD", "NEW"),
) -> list[Change]:
    """The rows that both have, in the new one's order.

    Args:
        old: What was measured before.
        new: What was measured now.
        floor: Per cent of the old time below which nothing is a change; None for what suits the size.
        names: What to call the two in messages.

    Raises:
        ConfigError: They are of different cards or sizes, or measured other amounts.
        DataError: They have no row in common.
    """
    rows_of_old = {row.name: row for row in old.rows}
    pairs = [(rows_of_old[row.name], row) for row in new.rows if row.name in rows_of_old]
    settings = [
        ("card", old.card, new.card),
        ("size", old.size, new.size),
        ("quick", str(old.quick).lower(), str(new.quick).lower()),
    ]
    settings += [(a.name, f"{a.work} {a.unit}", f"{b.work} {b.unit}") for a, b in pairs]
    other = [f"  {what}: {a} in {names[0]}, {b} in {names[1]}" for what, a, b in settings if a != b]
    if other:
        raise ConfigError(
            "\n".join(
                [
                    f"{names[0]} and {names[1]} were not measured alike.",
                    *other,
                    "  allowed: two files of one card, one size and the same amounts, both quick or neither",
                    f"  as {names[0]}, on its card:  {old.command('FILE')}",
                ]
            )
        )
    if not pairs:
        raise DataError(
            f"{names[0]} and {names[1]} have no row in common.\n"
            f"  expected: files of  {new.command('FILE')}  by versions that are not too far apart"
        )
    floor = FLOORS.get(old.size, FLOORS["published"]) if floor is None else floor
    return [Change(a, b, floor) for a, b in pairs]


_COLOURS = {"slower": "red", "faster": "green", "same": None}


def show_changes(old: Measurements, new: Measurements, changes: list[Change], console: Console) -> int:
    """Prints the table and what it comes to; 1 if something became slower, else 0."""
    counted = any(change.new.peak_bytes is not None for change in changes)
    memory = ["old memory", "new memory"] if counted else []
    columns = ("row", "old, ms", "new, ms", "change, %", "noise, %", *memory, "verdict")
    table = Listing(escape(new.title), columns, left=("verdict",))
    for change in changes:
        both = (change.old, change.new)
        table.add(
            escape(change.old.name),
            *(significant(1000 * row.median) for row in both),
            f"{change.percent:+.1f}",
            f"{change.noise:.1f}",
            *(memory_of(row) for row in both if counted),
            change.verdict,
            style=_COLOURS[change.verdict],
        )
    table.show(console)
    for name, one in (("old", old), ("new", new)):
        prose(console, f"{name}: {_origin(one)}")
    for name, one, names in (
        ("old", old, {row.name for row in new.rows}),
        ("new", new, {row.name for row in old.rows}),
    ):
        alone = [row.name for row in one.rows if row.name not in names]
        if alone:
            prose(console, f"only in the {name} file: {'; '.join(alone)}")
    slower = [change.old.name for change in changes if change.verdict == "slower"]
    if slower:
        prose(console, f"slower by more than the noise: {'; '.join(slower)}", style="bold red")
    else:
        prose(console, f"none of {len(changes)} rows became slower by more than its noise")
    return 1 if slower else 0


def _origin(one: Measurements) -> str:
    """When and with which code."""
    facts = one.provenance
    packages = facts.get("packages")
    torch = packages.get("torch", "?") if isinstance(packages, dict) else "?"
    commit = str(facts.get("commit") or "no commit known")[:12]
    changed = " with uncommitted changes" if facts.get("changed") else ""
    return f"{facts.get('time', 'no date')}, {commit}{changed}, torch {torch}"


def _floor_of(text: str | None) -> float | None:
    """The setting `floor=`.

    Raises:
        ConfigError: It is no percentage.
    """
    if text is None:
        return None
    try:
        floor = float(text)
    except ValueError:
        floor = -1.0
    if not 0 <= floor < math.inf:
        raise ConfigError(
            f"floor={text} is no percentage.\n  allowed: 0 or more\n  e.g.  vxl bench diff OLD NEW floor=5"
        )
    return floor
