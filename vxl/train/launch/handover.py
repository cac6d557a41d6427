"""After a signal, when the run has saved: it ends, or is requeued by SLURM."""

import os
import signal
import subprocess
import time
from typing import Any

from vxl.terminal.say import say

COME_BACK = signal.SIGUSR2
"""What SLURM sends before it takes the machine away (submitit asks it for this): save and come back later."""
GIVEN_UP = 2
"""Exit status of what there is no sense in trying again."""
# Seconds that the other ranks wait for the first one to requeue the job, which ends them, too.
_PATIENCE = 120


class Stopped(SystemExit):
    """A run that stopped at a signal and has saved; its status is what the signal would have given."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(128 + number)
        self.number = number


def hand_over(stop: Stopped) -> None:
    """Puts this process's SLURM job back into the queue, if that is what the signal asks for.

    Call it when the run directory is closed, since the job may be killed as soon as it is requeued. To be
    preempted after a time of grace comes as SIGTERM, as `scancel` does: SLURM knows which of the two it is.

    Raises:
        SystemExit: The job is requeued, or has been so too often.
    """
    requeue: Any = signal.getsignal(COME_BACK)  # submitit's
    preempted = stop.number == signal.SIGTERM and is_preempted(os.environ.get("SLURM_JOB_ID"))
    if not callable(requeue) or not (stop.number == COME_BACK or preempted):
        return
    try:
        requeue(int(COME_BACK), None)
    except Exception as error:  # submitit's UncompletedJobError
        say(f"not requeued: {error}\ngo on:  the same command again", error=True)
        raise SystemExit(GIVEN_UP) from error
    time.sleep(_PATIENCE)  # of the ranks, only the first one comes back from there no more


def is_preempted(job: str | None) -> bool:
    """Whether SLURM is about to take a running job's machine away for another one (not so after scancel)."""
    if job is None:
        return False
    try:
        command = ["scontrol", "-o", "show", "job", job]
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    facts = dict(word.split("=", 1) for word in output.split() if "=" in word)
    return facts.get("JobState") == "RUNNING" and facts.get("PreemptTime", "None") not in ("None", "")
