"""cluster=slurm against a real SLURM: what a lab leaves running for weeks, in minutes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.scripts import ROOT, digest, last_step, numbers, result
from tests.cluster.conftest import SHORT, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# The members of one array; `print_every` changes no number, so that each should end as a run without SLURM.
FIRST, SIGNALLED, LOST, KILLED, CANCELLED = (f"many/print_every={i}" for i in range(1, 6))
MANY = ["trainer.print_every=1,2,3,4,5", "name=many"]
LIMIT = "limit"


def until(true: Callable[[], object], what: str, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


def job_of(place: Place, run: str) -> str:
    """The SLURM job of a run, from the record of what was submitted."""
    sweep = run.partition("/")[0]
    return json.loads((place.run(sweep) / "slurm" / "jobs.json").read_text())[run]


def finished(place: Place, run: str) -> bool:
    return (place.run(run) / "RESULT.json").exists()


def said(place: Place, run: str) -> str:
    """What the jobs of a run printed."""
    sweep, job = run.partition("/")[0], job_of(place, run)
    return (place.run(sweep) / "slurm" / f"{job}_0_log.out").read_text()


def ends_as_undisturbed(place: Place, run: str) -> None:
    until(lambda: finished(place, run), f"the end of {run}")
    assert digest(place.run(run)) == digest(place.run("undisturbed"))
    assert numbers(place.run(run)) == numbers(place.run("undisturbed"))
    assert result(place.run(run)) == result(place.run("undisturbed"))


@pytest.fixture(scope="module")
def array(place: Place) -> str:
    """Submits an array of five and, beside it, one of two; does to each member what is in store for it.

    So it does to a job that never ends, which has whole minutes to wait for its time limit.
    """
    slurm = place.slurm

    def submit() -> str:
        place.submit(f"name={LIMIT}", "cluster.minutes=10", steps=100_000)
        text = place.submit(*MANY)
        place.submit("seed=1,2", "name=two", "logger=wandb", steps=8)
        return text

    def kill(job: str) -> None:
        for pid in tasks(place, job):
            os.kill(pid, signal.SIGKILL)

    def shorten(job: str) -> None:
        for pid in tasks(place, job):
            os.setpriority(os.PRIO_PROCESS, pid, 19)  # the others have something to do
        minutes, seconds = slurm.job(job)["RunTime"].split(":")[-2:]
        # Limits are of whole minutes, and SLURM sends the signal up to half a minute early.
        limit = int(minutes) + (2 if int(seconds) < 50 else 3)
        slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")

    plans: dict[str, tuple[int, Callable[[str], object]]] = {
        LIMIT: (1, shorten),
        SIGNALLED: (3, lambda job: tell(place, job)),
        LOST: (8, lambda job: slurm("scontrol", "requeue", job)),
        KILLED: (8, kill),
        CANCELLED: (4, lambda job: slurm("scancel", job)),
    }

    with ThreadPoolExecutor(1 + len(plans)) as threads:  # SLURM's commands take seconds on a busy machine
        submitted = threads.submit(submit)
        acts: list[Future] = []

        def act() -> bool:
            for run in [run for run, (step, _) in plans.items() if last_step(place.run(run)) >= step]:
                acts.append(threads.submit(plans.pop(run)[1], job_of(place, run)))
            return not plans

        until(act, "all members to be in training")
        for done in acts:
            done.result()
        return submitted.result()


def tell(place: Place, job: str) -> None:
    """Sends a job the signal that comes before its time limit.

    Where SLURM is slow to say that it has done so, scancel sends it again, seconds later: to the next start.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        place.slurm("scancel", "--signal=USR2", job, timeout=4)


def test_a_sweep_is_one_array_and_compare_sees_members_as_they_come(place: Place, array: str) -> None:
    assert "vxl compare many" in array
    with pytest.raises(RuntimeError, match="accounting storage is disabled"):
        place.slurm("sacct")  # nobody asks it
    table = place.vxl("compare", "many")
    assert any(word in table for word in ("new", "running", "killed", "stopped")), table
    jobs = [job_of(place, f"many/print_every={i}") for i in range(1, 6)]
    assert jobs == [f"{jobs[0].partition('_')[0]}_{i}" for i in range(5)]
    ends_as_undisturbed(place, FIRST)
    assert "finished" in place.vxl("compare", "many")


def test_the_signal_before_a_time_limit_saves_at_a_step_boundary_and_requeues(
    place: Place, array: str
) -> None:
    ends_as_undisturbed(place, SIGNALLED)
    assert "stopped after step" in said(place, SIGNALLED)
    assert "goes on after step" in said(place, SIGNALLED)
    assert place.slurm.job(job_of(place, SIGNALLED))["Restarts"] == "1"


def test_a_lost_node_resumes_from_the_last_checkpoint(place: Place, array: str) -> None:
    ends_as_undisturbed(place, LOST)
    assert "goes on after step" in said(place, LOST)


def test_a_crash_is_tried_again(place: Place, array: str) -> None:
    ends_as_undisturbed(place, KILLED)
    assert "goes on after step" in said(place, KILLED)
    assert place.slurm.job(job_of(place, KILLED))["Restarts"] == "1"


def test_a_cancelled_member_saves_and_the_same_command_runs_only_it(place: Place, array: str) -> None:
    job = job_of(place, CANCELLED)
    until(lambda: job not in place.slurm.jobs(), "the end of the job")
    assert "stopped after step" in said(place, CANCELLED)
    assert place.slurm.job(job)["JobState"] == "CANCELLED"
    again = place.submit(*MANY)
    assert again.count(": finished") + again.count(": job ") == 4, again
    assert job_of(place, CANCELLED) != job
    ends_as_undisturbed(place, CANCELLED)


def test_two_sweeps_at_once_keep_to_their_own_folders(place: Place, array: str) -> None:
    for seed in (1, 2):
        until(lambda seed=seed: finished(place, f"two/seed={seed}"), f"seed {seed}")
    assert digest(place.run("two/seed=1")) != digest(place.run("two/seed=2"))
    assert place.vxl("compare", "two").count("finished") == 2
    assert [wandb_group(place.run(f"two/seed={seed}")) for seed in (1, 2)] == ["two", "two"]


def test_before_its_time_limit_a_run_saves_and_goes_on(place: Place, array: str) -> None:
    until(lambda: "goes on after step" in said(place, LIMIT), "the next start")
    place.slurm("scancel", job_of(place, LIMIT))
    assert "this job is timed-out" in said(place, LIMIT)
    assert "stopped after step" in said(place, LIMIT)


def test_a_preempted_job_saves_in_its_time_of_grace_and_comes_back(place: Place, array: str) -> None:
    place.slurm.wait(300)
    place.submit("name=preempted")
    until(lambda: last_step(place.run("preempted")) >= 2, "a step")
    place.slurm("sbatch", "-p", "urgent", "-n", str(place.slurm.cpus), "-o", os.devnull, "--wrap", "sleep 1")
    ends_as_undisturbed(place, "preempted")
    assert "stopped after step" in said(place, "preempted")
    assert "goes on after step" in said(place, "preempted")


def test_code_that_changed_since_the_submission_is_refused(place: Place) -> None:
    place.submit("name=edited", "cluster.sbatch='--hold'")
    (record,) = place.run("edited").glob("slurm/submitted-*.json")
    values = json.loads(record.read_text())
    values["files"]["conf/train.yaml"] = "what it was then"
    record.write_text(json.dumps(values))
    job = job_of(place, "edited")
    place.slurm("scontrol", "release", job)
    until(lambda: job not in place.slurm.jobs(), "the end of the job")
    assert "conf/train.yaml  (edited)" in said(place, "edited")
    assert place.slurm.job(job)["JobState"] == "FAILED"
    assert place.slurm.job(job)["Restarts"] == "0"


def test_a_killed_rank_of_a_2_task_ddp_job_leaves_no_trace(place: Place) -> None:
    place.submit("name=ddp", "strategy=ddp", "trainer.devices=2", "data.batch=1")
    until(lambda: last_step(place.run("ddp")) >= 8, "a step")
    os.kill(max(tasks(place, job_of(place, "ddp"))), signal.SIGKILL)
    as_one_process(place, "ddp")
    assert "launched by SLURM, job" in said(place, "ddp")
    assert "1 node x 2 tasks · strategy ddp · global batch 2 rows (1 x 1 x 2)" in said(place, "ddp")
    assert "goes on after step" in said(place, "ddp")
    assert "Traceback" not in said(place, "ddp")
    assert place.slurm.job(job_of(place, "ddp"))["Restarts"] == "1"


def test_a_2_task_fsdp2_job_saves_when_it_is_told(place: Place) -> None:
    place.submit("name=fsdp2", "strategy=fsdp2", "trainer.devices=2", "data.batch=1")
    until(lambda: last_step(place.run("fsdp2")) >= 3, "a step")
    tell(place, job_of(place, "fsdp2"))
    as_one_process(place, "fsdp2")
    assert said(place, "fsdp2").count("stopped after step") == 1
    assert "goes on after step" in said(place, "fsdp2")


def test_srun_by_hand_is_one_run(place: Place) -> None:
    words = ["name=srun", "strategy=fsdp2", "trainer.devices=2", "data.batch=1", "checkpoint.background=true"]
    command = [sys.executable, str(ROOT / "train.py"), *SHORT, "trainer.max_steps=30", *words]
    text = place.slurm("srun", "-n2", f"--chdir={place.folder}", *command, timeout=300)
    as_one_process(place, "srun")
    assert text.count("1 node x 2 tasks · strategy fsdp2 · global batch 2 rows (1 x 1 x 2)") == 1
    assert "launched by SLURM, job" in text
    assert text.count("runs/srun: a new run") == 1


def as_one_process(place: Place, run: str) -> None:
    """The final numbers, within what float32 adds up in another order."""
    until(lambda: finished(place, run), f"the end of {run}")
    ours, theirs = result(place.run(run)), result(place.run("undisturbed"))
    assert ours["loss_last"] == pytest.approx(theirs["loss_last"], rel=1e-3)
    assert ours["heldout_loss"] == pytest.approx(theirs["heldout_loss"], rel=1e-2)
    assert ours["samples"] == theirs["samples"]


def wandb_group(run: Path) -> str:
    """The group that a run's W&B file names."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    data, at, record = file.read_bytes(), 7, Record()
    while not record.HasField("run"):  # a checksum of 4 bytes, a length of 2, a kind, and the record itself
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        record.ParseFromString(data[at + 7 : at + 7 + length])
        at += 7 + length
    return record.run.run_group


def tasks(place: Place, job: str) -> list[int]:
    """The processes that srun started for a job."""
    words = {f"SLURM_CONF={place.slurm.environment['SLURM_CONF']}", "SLURM_STEP_ID=0"}
    array, _, index = job.partition("_")
    words |= (
        {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={index}"} if index else {f"SLURM_JOB_ID={job}"}
    )
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = set((folder / "environ").read_text().split("\0"))
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            started_by = Path(f"/proc/{parent}/cmdline").read_text()
        except OSError:
            continue
        if words <= environment and started_by.startswith("slurmstepd"):
            found.append(int(folder.name))
    return found
