"""Carrying out: what is missing is run, several commands at a time, and what failed is said."""

import argparse
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from studies.base import Base
from studies.member import Member, Task, aligned, tasks

ROOT = Path(__file__).parents[2]
IMPORTED = ["__main__", "lightning", "transformers", "vxl.train.run", "vxl.evaluate.run"]
"""What a forked command finds imported."""


def chosen(members: Sequence[Member], options: argparse.Namespace) -> list[Member]:
    """The members that were asked for, with those that they start from."""
    names = {member.name for member in members}
    if unknown := set(options.only or ()) - names:
        raise SystemExit(
            f"no setting is called {', '.join(sorted(unknown))}.\n  settings: {', '.join(sorted(names))}"
        )
    found = [
        member
        for member in members
        if member.seed in options.seeds and (options.only is None or member.name in options.only)
    ]
    needed = {member.after for member in found}
    return found + [member for member in members if member.run in needed and member not in found]


def carry_out(members: Sequence[Member], base: Base, options: argparse.Namespace) -> bool:
    """Trains and asks all members of which something is missing, and says what failed.

    Returns:
        Whether all is there.
    """
    members = [*aligned(base), *members]
    every = {task.leaves: task for member in members for task in tasks(member, base, options)}
    if not options.read:
        _work_off([task for task in every.values() if not task.done], _Starter(base, options.gpus), options)
    return all(task.done for task in every.values())


class _Command:
    """A command that runs, in either kind of process."""

    def __init__(self, task: Task, process: "subprocess.Popen[bytes] | BaseProcess", place: int) -> None:
        self.task, self.process, self.place, self.began = task, process, place, time.monotonic()

    @property
    def status(self) -> int | None:
        """None while it runs."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def end(self) -> None:
        """Lets it save what it has, and waits."""
        self.process.terminate()
        print(f"ended before it was done: {self.task.name}")
        if isinstance(self.process, subprocess.Popen):
            self.process.wait()
        else:
            self.process.join()


class _Starter:
    """Starts commands as a base says."""

    def __init__(self, base: Base, gpus: int) -> None:
        self.gpus, self.server = gpus, None
        paths = [str(ROOT), os.environ.get("PYTHONPATH")]
        self.environment = {
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        if base.forked:
            os.environ.update(self.environment)
            self.server: ForkServerContext | None = multiprocessing.get_context("forkserver")
            self.server.set_forkserver_preload(IMPORTED)

    def start(self, task: Task, place: int) -> _Command:
        """Its output goes behind what its log has."""
        task.log.parent.mkdir(parents=True, exist_ok=True)
        if self.server is not None:
            process = self.server.Process(target=_run, args=(task.command[1:], task.log))
            process.start()
            return _Command(task, process, place)
        environment = {**os.environ, **self.environment, "CUDA_VISIBLE_DEVICES": str(place % self.gpus)}
        with task.log.open("ab") as lines:
            popen = subprocess.Popen(task.command, cwd=ROOT, stdout=lines, stderr=lines, env=environment)
        return _Command(task, popen, place)


def _run(command: Sequence[str], log: Path) -> None:
    """A command in a forked process, as if python had been started with it."""
    with log.open("ab") as lines:
        os.dup2(lines.fileno(), 1)
        os.dup2(lines.fileno(), 2)
    os.chdir(ROOT)
    sys.argv = list(command)
    sys.path.insert(0, str(ROOT))
    runpy.run_path(command[0], run_name="__main__")


def _work_off(waiting: list[Task], starter: _Starter, options: argparse.Namespace) -> None:
    """Runs tasks, the most urgent of those that can be begun first, until all are done or the time is up."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # as a Ctrl-C: by way of `finally`
    running: list[_Command] = []
    places = list(range(options.jobs))
    ending = time.monotonic() + options.seconds
    try:
        while time.monotonic() < ending:
            for command in [command for command in running if command.status is not None]:
                running.remove(command)
                places.append(command.place)
                word = "" if command.status == 0 else f"  FAILED ({command.status}): see {command.task.log}"
                print(f"{time.monotonic() - command.began:6.0f} s  {command.task.name}{word}", flush=True)
            ready = [task for task in waiting if task.needs is None or task.needs.exists()]
            if not ready and not running:
                break
            for task in sorted(ready, key=lambda task: -task.urgency)[: len(places)]:
                waiting.remove(task)
                running.append(starter.start(task, places.pop(0)))
            time.sleep(0.2)
    finally:  # after a Ctrl-C too: what runs saves itself, and the same command goes on
        for command in running:
            command.end()
    for task in waiting:
        print(f"not begun: {task.name}")
