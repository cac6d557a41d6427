"""What a study is made of: settings at seeds, as commands, each with the file that says that it is done."""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.base import Base
from vxl.evaluate.work.changes import expand_changes, label

SEEDS = (0, 1, 2)
"""Those that a setting has, unless more are asked for."""
MOST_SEEDS = range(8)
"""Those that it may have."""
BLIND = "blind"
"""The variant that sees no video."""


@dataclass(frozen=True)
class Member:
    """A setting at one seed: what is typed behind the base, and how the run is asked afterwards."""

    name: str
    words: str = ""
    seed: int = 0
    asked: tuple[str, ...] = ("",)
    """Words of one evaluate.py each; commas in them make several variants. Empty for a run that others only
    start from."""
    after: str | None = None
    """The run whose weights it starts from; None: the aligned one, where its size has one."""
    cost: float = 1.0
    """How long it takes, roughly: long ones start first."""

    @property
    def run(self) -> str:
        """Its folder below the folder of runs."""
        return f"{self.name}_{self.seed}"


def seeds(name: str, words: str, *, after: str | None = None, **more: Any) -> list[Member]:
    """A setting at every seed that it may have; `after` is the name of a setting with the same seeds."""
    return [
        Member(name, words, seed, after=None if after is None else f"{after}_{seed}", **more)
        for seed in MOST_SEEDS
    ]


ALIGNED = "aligned"


def aligned(base: Base) -> list[Member]:
    """The run from which all others start, if a size has one."""
    return [] if base.aligned is None else [Member(ALIGNED, base.aligned, cost=math.inf)]


def reports(asked: str, run: Path, benchmark: str) -> dict[str, Path]:
    """By variant (empty: as it was trained), the report that evaluating a run in some words leaves."""
    if asked == f"{BLIND}=true":
        return {BLIND: run / "evaluate" / f"{benchmark}.blind.json"}
    names = [label(change) for change in expand_changes(asked.split())] if asked else [""]
    return {name: run / "evaluate" / name / f"{benchmark}.json" for name in names}


@dataclass(frozen=True)
class Task:
    """A command, what must be there before it, and the files that say that it is done."""

    name: str
    command: tuple[str, ...]
    needs: Path | None
    leaves: tuple[Path, ...]
    log: Path
    urgency: float

    @property
    def done(self) -> bool:
        """Whether all that it leaves is there."""
        return all(path.exists() for path in self.leaves)


def tasks(member: Member, base: Base, options: argparse.Namespace) -> list[Task]:
    """What is to be done for a member; answers come before trainings, long trainings before short ones."""
    run = options.runs / member.run
    words = f"{base.words} {member.words} seed={member.seed} name={member.run}"
    trained, start, needs = run / "RESULT.json", [], None
    first = None if member.name == ALIGNED else next((one.run for one in aligned(base)), None)
    if (after := member.after or first) is not None:
        start = [f"init_from={options.runs / after}"]
        needs = options.runs / after / "RESULT.json"
    paths, log = f"paths.runs={options.runs}", run.with_suffix(".log")
    train = (sys.executable, "train.py", *words.split(), *start, paths)
    found = [Task(f"train {member.run}", train, needs, (trained,), log, member.cost)]
    for asked in member.asked:
        ask = (sys.executable, "evaluate.py", f"run={member.run}", f"benchmark={base.benchmark}")
        leaves = tuple(reports(asked, run, base.benchmark).values())
        name = f"ask {member.run} {asked}".strip()
        found.append(Task(name, (*ask, *asked.split(), paths), trained, leaves, log, math.inf))
    return found
