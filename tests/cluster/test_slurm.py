"""cluster=slurm against a real SLURM: what a lab leaves running for weeks, in minutes.

The jobs of all tests but the last ones are submitted at once, so that they share the machine's cores.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.runs import digest, last_step, numbers, result
from tests.cluster.conftest import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def until(true: Callable[[], object], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def job_of(place: Place, run: str) -> str:
    """The SLURM job of a run, from the record of what was submitted."""
    name = run.partition("/")[0]
    return json.loads((place.run(name) / "slurm" / "jobs.json").read_text())[run]


def in_training(place: Place, run: str, step: int) -> str:
    """Waits until a run has logged a step; returns its job."""
    until(lambda: last_step(place.run(run)) >= step, f"step {step} of {run}")
    return job_of(place, run)


def ends_as_undisturbed(place: Place, run: str, other: str = "undisturbed") -> None:
    done = place.run(run) / "RESULT.json"
    until(done.exists, f"the end of {run}")
    assert digest(place.run(run)) == digest(place.run(other))
    assert numbers(place.run(run)) == numbers(place.run(other))
    assert result(place.run(run)) == result(place.run(other))


def test_a_sweep_is_an_array_and_members_are_seen_as_they_come(place: Place) -> None:
    said = place.submit("+sweep=seeds", "name=three")
    assert "vxl compare three" in said
    jobs = {job_of(place, f"three/seed={seed}") for seed in range(3)}
    assert len({job.partition("_")[0] for job in jobs}) == 1
    assert {job.partition("_")[2] for job in jobs} == {"0", "1", "2"}
    assert place.vxl("compare", "three").count("step ") + place.vxl("compare", "three").count("new") >= 1
    again = place.submit("+sweep=seeds", "name=three")  # what is in the queue is not submitted twice
    assert "nothing to do" in again
    two = place.submit("seed=0,1", "name=two")  # another sweep beside it
    assert "submitted" in two
    for seed in range(3):
        until((place.run(f"three/seed={seed}") / "RESULT.json").exists, f"seed {seed}")
    table = place.vxl("compare", "three")
    assert table.count("finished") == 3
    assert "3 seeds" in table
    ends_as_undisturbed(place, "three/seed=0")
    ends_as_undisturbed(place, "two/seed=1", "three/seed=1")
    assert place.submit("+sweep=seeds", "name=three").count("finished") == 3


def test_the_signal_before_a_time_limit_saves_at_a_step_boundary_and_requeues(place: Place) -> None:
    place.submit("name=signalled", steps=40)
    place.submit("name=whole", steps=40)
    job = in_training(place, "signalled", 3)
    place.slurm("scancel", "--signal=USR2", job)
    until(lambda: "stopped after step" in place.output("signalled"), "the checkpoint")

    until((place.run("whole") / "RESULT.json").exists, "the other run")
    ends_as_undisturbed(place, "signalled", "whole")
    assert place.output("signalled").count("goes on after step") == 1
    assert place.slurm.job(job)["Restarts"] == "1"


def test_a_lost_node_resumes_from_the_last_checkpoint(place: Place) -> None:
    place.submit("name=lost")
    job = in_training(place, "lost", 8)
    place.slurm("scontrol", "requeue", job)
    ends_as_undisturbed(place, "lost")
    assert "goes on after step 6" in place.output("lost") or "goes on after step" in place.output("lost")


def test_a_preempted_job_saves_in_its_time_of_grace_and_comes_back(place: Place) -> None:
    place.submit("name=preempted")
    job = in_training(place, "preempted", 2)
    place.slurm("sbatch", "-p", "urgent", "-n", str(place.slurm.cpus), "-o", os.devnull, "--wrap", "sleep 2")
    until(lambda: "stopped after step" in place.output("preempted"), "the checkpoint")
    ends_as_undisturbed(place, "preempted")
    assert int(place.slurm.job(job)["Restarts"]) >= 1


def test_a_crash_is_tried_again(place: Place) -> None:
    place.submit("name=killed")
    job = in_training(place, "killed", 7)
    for pid in _tasks(place, job):
        os.kill(pid, signal.SIGKILL)
    ends_as_undisturbed(place, "killed")
    assert place.slurm.job(job)["Restarts"] == "1"


def test_a_cancelled_job_saves_and_stays_away(place: Place) -> None:
    place.submit("name=cancelled")
    job = in_training(place, "cancelled", 2)
    place.slurm("scancel", job)
    until(lambda: job not in place.slurm.jobs(), "the end of the job")
    assert "stopped after step" in place.output("cancelled")
    assert place.slurm.job(job)["JobState"] == "CANCELLED"
    assert not (place.run("cancelled") / "RESULT.json").exists()
    place.submit("name=cancelled")
    ends_as_undisturbed(place, "cancelled")


def test_code_that_changed_since_the_submission_is_refused(place: Place) -> None:
    place.submit("name=edited", "cluster.sbatch='--hold'")
    (record,) = place.run("edited").glob("slurm/submitted-*.json")
    values = json.loads(record.read_text())
    values["files"]["conf/train.yaml"] = "what it was then"
    record.write_text(json.dumps(values))
    job = job_of(place, "edited")
    place.slurm("scontrol", "release", job)
    until(lambda: job not in place.slurm.jobs(), "the end of the job")
    assert "conf/train.yaml  (edited)" in place.output("edited")
    assert place.slurm.job(job)["JobState"] == "FAILED"
    assert place.slurm.job(job)["Restarts"] == "0"


def test_before_the_time_limit_a_run_saves_and_goes_on_in_another_job(place: Place) -> None:
    slow = ["data.batch=8", "trainer.accumulate=4", "trainer.max_steps=1000"]
    place.submit("name=limit", "cluster.minutes=1", "cluster.signal_seconds=1", *slow, steps=1000)
    job = in_training(place, "limit", 1)
    until(lambda: "stopped after step" in place.output("limit"), "the signal")
    until(lambda: "goes on after step" in place.output("limit"), "the next start")
    place.slurm("scancel", job)
    assert "this job is timed-out" in place.output("limit")


def _tasks(place: Place, job: str) -> list[int]:
    """The processes of a job's tasks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        mine = f"SLURM_CONF={place.slurm.environment['SLURM_CONF']}".encode() in environment
        if mine and f"SLURM_JOB_ID={job}".encode() in environment and b"submitit.core._submit" in command:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (
                b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes()
                and b"SLURM_STEP_ID=0" in environment
            ):
                found.append(int(folder.name))
    return found
