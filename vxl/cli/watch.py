"""`vxl runs watch SWEEP`: a live table of members with step, time left, loss, accuracy and memory."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape

from vxl.errors import ConfigError
from vxl.run.choose import seconds_of
from vxl.run.find import Run, Status, find_members
from vxl.table import Listing
from vxl.units import human_age, human_size, percent

_COLOURS = {"running": "cyan", "finished": "green", "failed": "red", "stopped": "yellow", "killed": "yellow"}
_COLUMNS = ("member", "status", "step", "left", "loss", "held-out", "accuracy", "memory")


def watch(
    root: Path,
    names: Sequence[str],
    every: str | None,
    console: Console,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Shows the members of sweeps until none of them runs; on a terminal one table, else a line a change.

    Args:
        root: The folder of runs.
        names: Sweeps or runs.
        every: Time between two looks (`10s`); None: 5 seconds on a terminal, 30 elsewhere.
        console: Where to show them.
        wait: Waits.

    Raises:
        ConfigError: There is no such sweep, or `every` is no time.
    """
    if not names:
        raise ConfigError("vxl runs watch needs a sweep or runs.\n  e.g.  vxl runs watch SWEEP")
    seconds = (5.0 if console.is_terminal else 30.0) if every is None else seconds_of(every)

    def members() -> list[Run]:
        return list({run.name: run for name in names for run in find_members(name, root)}.values())

    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                runs = members()
                live.update(Group(*_table(runs, names).drawn(console)), refresh=True)
                if not any(run.status == "running" for run in runs):
                    return
                wait(seconds)
    last_shown: dict[str, tuple[Status, int]] = {}
    while True:
        runs = members()
        for run in runs:
            now: tuple[Status, int] = (run.status, run.step)
            if last_shown.get(run.name) != now:
                last_shown[run.name] = now
                console.print(_line(run), markup=False, soft_wrap=True)
        if not any(status == "running" for status, _ in last_shown.values()):
            return
        wait(seconds)


def _table(runs: Sequence[Run], names: Sequence[str]) -> Listing:
    """The members, and how many are done."""
    finished_runs = sum(run.status == "finished" for run in runs)
    listing = Listing(escape(f"{' '.join(names)}: {finished_runs} of {len(runs)} finished"), _COLUMNS)
    for run in runs:
        name, status, *numbers = _cells(run)
        listing.add(escape(name), f"[{_COLOURS.get(status, 'default')}]{status}[/]", *numbers)
    return listing


def _line(run: Run) -> str:
    name, status, *numbers = _cells(run)
    pairs = [f"{column} {text}" for column, text in zip(_COLUMNS[2:], numbers, strict=True) if text]
    return "  ".join([name, status, *pairs])


def _cells(run: Run) -> list[str]:
    numbers, step, steps, status = run.metrics, run.step, run.steps, run.status
    took = numbers.get("total/seconds")
    seconds_to_go = took / step * (steps - step) if took and step and steps and status == "running" else None

    def text(name: str, write: Callable[[float], str]) -> str:
        return write(numbers[name]) if name in numbers else ""

    return [
        run.path.name,
        status,
        f"{step}/{steps}" if steps else str(step),
        "" if seconds_to_go is None else human_age(seconds_to_go),
        text("loss", "{:.3f}".format),
        text("val/loss", "{:.3f}".format),
        text("val/accuracy", percent) or text("accuracy", percent),
        text("peak_memory_bytes", human_size),
    ]
