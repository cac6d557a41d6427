"""`vxl runs`: a table of runs with status, step, age and size."""

import typing
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vxl.errors import ConfigError
from vxl.run.find import Status, list_runs, missing
from vxl.table import Listing
from vxl.terminal.screen import prose
from vxl.units import human_age, human_size

_COLOURS = {"new": "default", "running": "cyan", "finished": "green", "failed": "red"} | dict.fromkeys(
    ("stopped", "killed"), "yellow"
)


def show_runs(root: Path, status: str | None, names: Sequence[str], console: Console) -> None:
    """Prints the runs below a folder as a table.

    Args:
        root: The folder of runs.
        status: Only runs with this status; None: all but those that were only previewed.
        names: Only runs whose name begins with one of these; all where there are none.
        console: Where to print.

    Raises:
        ConfigError: No run has such a name, or there is no such status.
    """
    if status is not None and status not in typing.get_args(Status):
        raise ConfigError(f"status={status} does not exist.\n  one of: {', '.join(typing.get_args(Status))}")
    runs = list_runs(root)
    for name in names:
        if not any(run.name.startswith(name) for run in runs):
            raise ConfigError(missing(name, root))
    runs = [run for run in runs if run.status == status or (status is None and run.status != "new")]
    if not runs:
        console.print(f"no runs in {root}/; start one:  python train.py", markup=False, soft_wrap=True)
        return
    table = Listing(escape(f"runs in {root}/"), ("run", "status", "step", "size", "age"), words=("status",))
    failed = []
    for run in runs:
        if not names or run.name.startswith(tuple(names)):
            if run.status == "failed":
                failed.append(run)
            colour = _COLOURS[run.status]
            step = f"{run.step}" + (f"/{run.steps}" if run.steps else "")
            table.add(
                escape(run.name),
                f"[{colour}]{run.status}[/]",
                step,
                human_size(run.size),
                human_age(run.age),
            )
    table.show(console)
    for run in failed:
        why = (run.failure or "").partition("\n")[0]
        prose(console, f"{run.name} failed: {why}", style="red")
