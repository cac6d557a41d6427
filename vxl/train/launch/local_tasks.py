"""Processes of our own on this machine, several at once: the members of a sweep."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

# What is passed on to the processes, which are out of the terminal's reach: Ctrl-C would come to them twice.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_OFTEN = 0.2


@dataclass
class Task:
    """One process: what it runs, and what became of it."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    """Variables on top of this process's own."""
    log: Path | None = None
    """Where its output goes; None: to this process's."""
    status: int | None = None
    """Exit status, negative for a signal; None until it ends."""


def run_tasks(
    tasks: Sequence[Task],
    at_once: int,
    slots: Sequence[dict[str, str]] | None = None,
    on_end: Callable[[Task], None] = lambda task: None,
    waiting_for: Callable[[list[Task]], None] = lambda tasks: None,
) -> signal.Signals | None:
    """Runs tasks, some at once, until all have ended.

    Args:
        tasks: In the order in which they start; their `status` is filled in.
        at_once: How many run at the same time.
        slots: Variables of each place where a task may run (its GPU), at least `at_once`.
        on_end: Called for each one that ended.
        waiting_for: Called several times a second with those that run.

    Returns:
        The signal that stopped everything, if one came: none is started any more, those that run got it,
        too, and have ended by themselves.
    """
    free = list(range(at_once))[::-1]
    running: dict[int, tuple[Task, subprocess.Popen[bytes]]] = {}
    waiting = list(tasks)
    with _listening(lambda: [process for _, process in running.values()]) as signals:
        try:
            while running or (waiting and not signals):
                while waiting and free and not signals:
                    slot = free.pop()
                    task = waiting.pop(0)
                    running[slot] = (task, _start(task, slots[slot] if slots else {}))
                waiting_for([task for task, _ in running.values()])
                time.sleep(_OFTEN)
                for slot, (task, process) in list(running.items()):
                    if process.poll() is None:
                        continue
                    task.status = process.returncode
                    del running[slot]
                    free.append(slot)
                    on_end(task)
        finally:
            for _, process in running.values():
                process.kill()
    return signals[0] if signals else None


@contextlib.contextmanager
def _listening(processes: Callable[[], list[subprocess.Popen[bytes]]]) -> Generator[list[signal.Signals]]:
    """Passes signals on to the processes and notes them; what to do then is for the processes to say."""
    signals: list[signal.Signals] = []

    def note(number: int, frame: object) -> None:
        signals.append(signal.Signals(number))
        for process in processes():
            process.send_signal(number)

    before = {number: signal.signal(number, note) for number in _PASSED_ON}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(task: Task, slot: dict[str, str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **slot, **task.environment}
    output: IO[bytes] | None = None
    if task.log is not None:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        output = task.log.open("ab")
    try:
        return subprocess.Popen(
            task.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
    finally:
        if output is not None:
            output.close()
