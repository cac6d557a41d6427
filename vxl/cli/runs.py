"""`vxl runs`: a table of runs with status, step, age and size, filtered and sorted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vxl.cli.watch import watch
from vxl.cli.words import Words
from vxl.errors import ConfigError
from vxl.run.choose import chosen, is_metric, number, ordered
from vxl.run.find import list_runs, missing
from vxl.table import Listing
from vxl.terminal.say import typed_here
from vxl.terminal.screen import Screen, prose
from vxl.units import human_age, human_size

_COLOURS = {"new": "default", "running": "cyan", "finished": "green", "failed": "red"} | dict.fromkeys(
    ("stopped", "killed"), "yellow"
)


def show_runs(
    root: Path, filters: Mapping[str, str], sort: str | None, names: Sequence[str], console: Console
) -> None:
    """Prints the runs below a folder as a table.

    Args:
        root: The folder of runs.
        filters: `status=`, `since=` and keys of the runs' configs; without a status those that were only
            previewed are left out.
        sort: By what, as `vxl.run.choose.ordered` takes it; None: the most recent first.
        names: Only runs whose name begins with one of these; all where there are none.
        console: Where to print.

    Raises:
        ConfigError: No run has such a name, or a filter means nothing.
    """
    runs = list_runs(root)
    for name in names:
        if not any(run.name.startswith(name) for run in runs):
            raise ConfigError(missing(name, root))
    if names:
        runs = [run for run in runs if run.name.startswith(tuple(names))]
    runs = ordered(chosen(runs, filters), sort)
    if "status" not in filters:
        runs = [run for run in runs if run.status != "new"]
    if not runs and filters:
        settings = " ".join(f"{key}={value}" for key, value in filters.items())
        console.print(f"no runs in {root}/ with {settings}", markup=False, soft_wrap=True)
        return
    if not runs:
        prose(console, typed_here(f"no runs in {root}/; start one:  python train.py"))
        return
    metric = sort.removeprefix("-") if sort is not None and is_metric(sort) else None
    columns = ("run", "status", *([metric] if metric else []), "step", "size", "age")
    table = Listing(escape(f"runs in {root}/"), columns, words=("status",))
    failures = []
    for run in runs:
        status = run.status
        if status == "failed":
            failures.append(run)
        colour = _COLOURS[status]
        step = f"{run.step}" + (f"/{run.steps}" if run.steps else "")
        measure = number(run, metric) if metric else None
        sorted_by = [f"{measure:.4g}" if measure is not None else "-"] if metric else []
        table.add(
            escape(run.name),
            f"[{colour}]{status}[/]",
            *sorted_by,
            step,
            human_size(run.size),
            human_age(run.age),
        )
    table.show(console)
    for run in failures:
        why = (run.failure or "").partition("\n")[0]
        prose(console, f"{run.name} failed: {why}", style="red")


def run_runs(words: Words) -> None:
    """`vxl runs [NAME …] [filters] [sort=…]`, or `vxl runs watch SWEEP`.

    Raises:
        ConfigError: No run has such a name, or a filter means nothing.
    """
    words.take("debug")
    root, console = words.runs(), Screen()
    if words.rest[:1] == ["watch"]:
        every = words.take("every")
        words.refuse_rest("runs watch", ("every", "paths.runs"))
        watch(root, words.rest[1:], every, console)
        return
    sort = words.take("sort")
    show_runs(root, words.settings, sort, words.rest, console)
