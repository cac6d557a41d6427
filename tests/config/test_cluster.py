"""From a command to the runs of a cluster, and what each cluster would do with them."""

import functools
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from vxl.config.compose import checked, compose_yaml
from vxl.config.sweep import Sweep, plan_sweep
from vxl.errors import ConfigError
from vxl.option.files import CONF
from vxl.train.launch import slurm
from vxl.train.launch.cluster import Local, LocalConfig
from vxl.train.launch.dispatch import dispatch
from vxl.train.launch.slurm import SlurmConfig


def planned(words: list[str]) -> Sweep:
    return _planned(tuple(words))


@functools.cache  # several tests are about the same command, whose planning composes every member
def _planned(words: tuple[str, ...]) -> Sweep:
    sweep = plan_sweep(list(words), False, [CONF])
    assert sweep is not None
    return sweep


def members(words: list[str]) -> list[list[str]]:
    return planned(words).members


def config(words: list[str]):
    return checked(compose_yaml("train", words), "train")


def handed_over(
    words: list[str], tmp_path: Path, status: int = 0, script: Path = Path("train.py")
) -> tuple[str, list[list[str]]]:
    """What is said, and the members whose config is wrong."""
    screen = Console(file=io.StringIO(), width=200)
    wrong: list[list[str]] = []
    place = f"paths.runs={tmp_path}"
    found = dispatch(
        [[*member, place] for member in members(words)],
        config,
        lambda words: "composed: yes\n",
        script,
        lambda words, error: wrong.append(words),
        screen,
    )
    assert found == status
    return screen.file.getvalue(), wrong  # type: ignore[attr-defined]


def test_a_sweep_is_its_members_commands():
    found = members(["model=tiny", "+sweep=[compression,seeds]", "seed=0,5", "cluster=slurm", "name=s"])
    assert len(found) == 6
    assert found[0] == [
        "compressor.ratio=4",
        "model=tiny",
        "seed=0",
        "cluster=slurm",
        "sweep_name='s'",
        "sweep_member='ratio=${compressor.ratio},seed=${seed}'",
    ]
    assert config(found[-1]).sweep_member == "ratio=64,seed=5"


def test_what_the_command_line_fixes_varies_no_more():
    assert len(members(["+sweep=compression", "compressor.ratio=16", "seed=1,2", "name=s"])) == 2


@pytest.mark.parametrize("cluster", ["slurm_preemptible", "local"])
def test_dry_run_says_what_would_be_submitted_and_does_nothing(cluster, tmp_path):
    words = [
        "+sweep=seeds",
        f"cluster={cluster}",
        "trainer.devices=1",
        "trainer=cpu",
        "dry_run=true",
        "name=s",
    ]
    said, _ = handed_over(words, tmp_path)
    assert "would run s/seed=2" in said
    assert list(tmp_path.iterdir()) == []
    if cluster != "local":
        assert "#SBATCH --array=0-2%3" in said
        assert "#SBATCH --requeue" in said
        assert "#SBATCH --signal=USR2@120" in said
        assert "--kill-on-bad-exit=1" in said


def parameters(*words: str) -> dict:
    from vxl.train.launch.cluster import RunRequest, Submission

    made = config(["cluster=slurm", *words])
    request = RunRequest("n", list(words), Path("/runs/n"), made.trainer, made.data.workers)
    submission = Submission(Path("train.py"), "n", Path("/runs/n/slurm"), Path("/r"), [request])
    return slurm.Slurm(made.cluster).parameters(submission)


def test_slurm_creates_as_many_tasks_as_devices():
    two = [
        parameters("data.workers=3", "cluster.mem_gb=64", "cluster.sbatch='--mail-type=END --exclusive'"),
        parameters("trainer=cpu", "cluster.cpus_per_task=1", "cluster.partition=long"),
    ]
    assert (two[0]["nodes"], two[0]["ntasks_per_node"], two[0]["gpus_per_node"]) == (1, 1, 1)
    assert (two[0]["cpus_per_task"], two[0]["mem"]) == (4, "64GB")
    assert two[0]["additional_parameters"] == {"requeue": True, "mail-type": "END", "exclusive": True}
    assert "gpus_per_node" not in two[1]
    assert (two[1]["cpus_per_task"], two[1]["partition"]) == (1, "long")


def test_a_wrong_member_does_not_keep_the_others_from_being_submitted(tmp_path):
    words = ["compressor.ratio=16,5", "cluster=slurm", "trainer=cpu", "name=s", "dry_run=true"]
    said, wrong = handed_over(words, tmp_path, status=1)
    assert "would run s/ratio=16" in said
    assert [member[0] for member in wrong] == ["compressor.ratio=5"]


def test_what_is_wrong_with_some_members_alone_does_not_refuse_the_sweep(tmp_path):
    """At its true size: 150 frames at ratio 4 are more tokens than the rows that are typed."""
    words = ["model=videoxl2", "+sweep=compression", "cluster=slurm", "trainer=cpu", "name=s", "dry_run=true"]
    words.append("data.max_tokens=6000")
    said, wrong = handed_over(words, tmp_path, status=1)
    assert said.count("would run") == 2
    assert [member[0] for member in wrong] == ["compressor.ratio=4"]
    with pytest.raises(ConfigError, match=r"video\.max_frames=0 asks for no frame"):
        planned([*words, "video.max_frames=0"])


def test_finished_members_and_those_in_the_queue_are_left_out(tmp_path, monkeypatch):
    words = ["+sweep=seeds", "cluster=slurm", "trainer=cpu", "name=s", "dry_run=true"]
    from vxl.option.rebuild import plain
    from vxl.run.directory import write_resolved

    done = tmp_path / "s" / "seed=0"
    write_resolved(done, plain(config([*members(words)[0], f"paths.runs={tmp_path}"])))
    (done / "provenance.json").write_text('{"sessions": []}')
    (done / "RESULT.json").write_text("{}")
    (tmp_path / "s" / "slurm").mkdir()
    (tmp_path / "s" / "slurm" / "jobs.json").write_text(json.dumps({"s/seed=1": "7_1", "s/seed=2": "7_2"}))
    monkeypatch.setattr(slurm, "queued", lambda jobs: {"7_1": "pending"})
    said, _ = handed_over(words, tmp_path)
    assert "s/seed=0: finished" in said
    assert "s/seed=1: job 7_1, pending" in said
    assert "would run s/seed=2" in said
    assert "would run s/seed=0" not in said


def test_several_devices_in_a_sweep_need_a_cluster():
    with pytest.raises(ConfigError) as error:
        planned(["+sweep=seeds", "trainer.devices=2"])
    assert "python train.py +sweep=seeds trainer.devices=1" in str(error.value)
    assert "python train.py +sweep=seeds trainer.devices=2 cluster=slurm" in str(error.value)


def test_each_member_on_this_machine_has_gpus_of_its_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    one, two = (
        config(["cluster=local"]).trainer,
        config(["cluster=local", "trainer.precision=32-true"]).trainer,
    )
    local = Local(LocalConfig())
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in local.slots(one)] == ["0", "1", "2", "3", "4"]
    object.__setattr__(two, "devices", 2)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in local.slots(two)] == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in local.slots(one)] == ["3", "7"]
    assert len(Local(LocalConfig(at_once=3)).slots(one)) == 3
    cpu = config(["trainer=cpu", "trainer.threads=1"]).trainer
    assert local.slots(cpu)[0] == {}


def test_members_on_this_machine_run_at_once_and_each_sees_its_gpu(tmp_path, monkeypatch):
    """With a script in the place of train.py that writes down what it was given, or fails."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['VXL_SUBMITTED'], sys.argv[1:])\n"
        "sys.exit(3 if 'seed=1' in sys.argv else 0)\n"
    )
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    words = ["+sweep=seeds", "cluster=local", "trainer.precision=32-true", "logger=csv", "name=s"]
    said, _ = handed_over(words, tmp_path, status=1, script=script)
    assert "3 runs, 2 at once" in said
    assert [said.count(f"s/seed={seed}: done") for seed in (0, 1, 2)] == [1, 0, 1]
    assert f"s/seed=1: ended with status 3, see {tmp_path}/s/local/seed=1.log" in said
    logs = [(tmp_path / f"s/local/seed={seed}.log").read_text() for seed in (0, 1, 2)]
    assert {log[0] for log in logs} == {"0", "1"}
    for seed, log in enumerate(logs):
        assert f"'seed={seed}'" in log
        assert "/s/local/submitted-" in log


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"minutes": 0}, "minutes=0 is too small"),
        ({"retries": -1}, "retries=-1 is too small"),
        ({"minutes": 2, "signal_seconds": 120}, "signal_seconds=120 leaves nothing of minutes=2"),
    ],
)
def test_impossible_values(values, said):
    with pytest.raises(ConfigError, match=said):
        SlurmConfig(**values)


def test_without_slurm_it_says_what_works(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, **_: None)
    words = ["seed=0,1", "cluster=slurm", "trainer=cpu", "name=s"]
    with pytest.raises(ConfigError, match="cluster=local"):
        handed_over(words, tmp_path)
