"""One run of a sweep, and the table that a sweep ends with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.run.failure import reason, write_failure
from vxl.run.name import member_folder
from vxl.run.typing_next import next_words
from vxl.terminal.say import complain
from vxl.units import percent


@dataclass(frozen=True)
class SweepMember:
    """One run of a sweep."""

    sweep: str
    name: str
    directory: Path

    @classmethod
    def of(cls, composed: Any) -> "SweepMember | None":
        """The member that a composed config is, or None for a single run."""
        if not composed.get("sweep_name"):
            return None
        name = member_folder(str(composed.sweep_member))
        return cls(str(composed.sweep_name), name, Path(composed.paths.runs) / composed.sweep_name / name)

    def failed(self, error: BaseException) -> "Outcome":
        """Says why on the screen, and keeps it where `vxl compare` and `vxl runs` find it.

        A run that began has its own record (vxl.run.directory), and one that another process is at work on,
        or that has another config, has not failed.
        """
        text = reason(error)
        if not any((self.directory / name).exists() for name in (".lock", "provenance.json")):
            write_failure(self.directory, error)
        complain(f"\nmember {self.name} failed: {text}\n")
        return Outcome(self, text)


@dataclass(frozen=True)
class Outcome:
    """What became of a member."""

    member: SweepMember
    error: str | None = None
    seconds: float = 0.0


def report(outcomes: Sequence[Outcome], plugins: Sequence[str] = ()) -> int:
    """Prints the table of all members and what to type next; exit status 1 if any failed.

    Args:
        outcomes: Of each member.
        plugins: Packages of the user's own that the members need.
    """
    from vxl.table import Listing  # late: rich, and --help needs none of it
    from vxl.terminal.screen import Screen

    sweep = outcomes[0].member.sweep
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        "loss": ("loss_last", "{:.3f}".format),
        "held-out acc": ("heldout_accuracy", percent),
        "seconds": ("seconds", "{:,.0f}".format),
    }
    table = Listing(f"sweep {sweep}", ("member", "status", *columns), words=("status",))
    for outcome in outcomes:
        result = outcome.member.directory / "RESULT.json"
        numbers = json.loads(result.read_text()) if result.exists() and outcome.error is None else {}
        status = (
            "failed: " + outcome.error.splitlines()[0].rstrip(":")
            if outcome.error
            else "finished"
            if numbers
            else "previewed"
        )
        values = [(numbers.get(key), write) for key, write in columns.values()]
        cells = ["-" if value is None else write(value) for value, write in values]
        table.add(outcome.member.name, status, *cells)
    console = Screen()
    table.show(console)
    failed = sum(outcome.error is not None for outcome in outcomes)
    if failed:
        console.print(f"{failed} of {len(outcomes)} members failed; the same command runs only those again.")
    else:
        runs = str(outcomes[0].member.directory.parents[1])
        lines = [
            f"compare:       {next_words('compare', sweep, runs=runs)}",
            f"evaluate all:  {next_words('evaluate', f'run={sweep}', runs=runs, plugins=plugins)}",
        ]
        if any((outcome.member.directory / "wandb_id.txt").exists() for outcome in outcomes):
            lines.append(f"W&B view:      {next_words('wandb', sweep, runs=runs)}")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 1 if failed else 0
