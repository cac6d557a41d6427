"""One run on two processes, killed while both write a checkpoint beside the training, and gone on with."""

import os
import signal
import time
from pathlib import Path

import pytest

import train
from tests.acceptance.scripts import ROOT, numbers, start, with_clips
from vxl.checkpoint.open_weights import open_weights
from vxl.checkpoint.step_folder import choose_step, step_folders
from vxl.cli.main import main

WORDS = [
    "trainer=cpu",
    "trainer.precision=64-true",
    "trainer.max_steps=6",
    "trainer.val_every=0",
    "checkpoint.every=2",
    "checkpoint.background=true",
    "data.workers=0",
    "data.held_out=4",
    "logger=csv",
]
TWO = ["strategy=fsdp2", "trainer.devices=2", "data.batch=1", "name=two"]
# train.py on a disk that takes seconds for the checkpoint of step 4, and says when it has begun.
SLOW = """
import os, runpy, sys, time
from pathlib import Path
from torch.distributed.checkpoint.filesystem import FileSystem

create = FileSystem.create_stream

def slow(self, path, mode):
    if mode == "wb" and "step-000004" in str(path):
        Path("writes-" + os.environ.get("RANK", "0")).touch()
        time.sleep(4)
    return create(self, path, mode)

FileSystem.create_stream = slow
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
LINE = (
    "1 node x 2 tasks · strategy fsdp2 · global batch 2 rows (1 x 1 x 2) · 1,388,800 of 1,388,800 parameters "
)
LINE += "trained · at most 4,096 tokens a step"


def kill_the_second(first: int) -> None:
    (second,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    os.kill(int(second), signal.SIGKILL)


def trained_here(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """`python train.py WORDS` in this process."""
    monkeypatch.setattr("sys.argv", ["train.py", *words])
    with pytest.raises(SystemExit) as stop:
        train.main()
    assert stop.value.code == 0


@pytest.mark.slow
def test_a_kill_while_two_processes_save_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "two"
    (tmp_path / "slow.py").write_text(SLOW)
    process = start(str(tmp_path / "slow.py"), str(ROOT / "train.py"), *WORDS, *TWO, cwd=with_clips(tmp_path))
    end = time.monotonic() + 200
    while not all((tmp_path / f"writes-{rank}").exists() for rank in (0, 1)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)
    kill_the_second(process.pid)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert f"launched by python: {LINE}" in said
    assert "\nerror: process 1 of 0 to 1" in said
    assert "ended by SIGKILL.\n  the same command goes on" in said
    assert "Traceback" not in said
    assert [folder.step for folder in step_folders(run)] == [2]
    assert choose_step(run, "last").step == 2

    process = start("train.py", *WORDS, *TWO, cwd=tmp_path, launcher=TORCHRUN)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert f"launched by torchrun: {LINE}" in said
    assert said.count("goes on after step 2") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["two"]

    monkeypatch.chdir(tmp_path)
    trained_here(monkeypatch, *WORDS, "data.batch=2", "name=one")
    for name in ("one", "two"):
        main(["export", name, f"{name}-exported", "layout=vxl"])
    one, two = (open_weights(tmp_path / f"{name}-exported").tensors for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, stored in one.items():
        ours, theirs = two[name].read(), stored.read()
        # What has no gradient but rounding (the bias of keys) is as good as zero.
        assert float((ours - theirs).norm() / theirs.norm().clamp(min=1e-6)) < 1e-6, name


@pytest.mark.slow
def test_two_processes_share_rows_and_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows, counts, losses and validations of one process; the first and the last steps are its own."""
    words = [*WORDS, "model=tiny", "prefill=chunked", "kv=full", "data.batch=2", "trainer.val_every=2"]
    words += ["trainer.log_every=1", "data.packing=true", "data.max_tokens=128", "trainer.show=0"]
    words += ["optim.schedule=constant", "optim.warmup=0"]
    two = ["strategy=fsdp2", "trainer.devices=2", "strategy.context=2", "name=shared"]
    monkeypatch.chdir(with_clips(tmp_path))
    trained_here(monkeypatch, *words, "name=shared", "trainer.max_steps=2")
    process = start("train.py", *words, *two, "trainer.max_steps=4", cwd=tmp_path)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "strategy fsdp2, a row on 2 processes · global batch 2 rows (2 x 1 x 1)" in said
    trained_here(monkeypatch, *words, "name=shared")
    trained_here(monkeypatch, *words, "name=one")
    one, shared = (numbers(tmp_path / "runs" / name) for name in ("one", "shared"))
    assert any(row["val/accuracy"] for row in one)
    for row, expected in zip(shared, one, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert bool(row[name]) == bool(value), (name, row, expected)
            if value:
                assert float(row[name]) == pytest.approx(float(value), rel=1e-6, abs=1e-9), name


@pytest.mark.slow
def test_copies_in_two_processes_show_none_of_pytorchs_own_lines(tmp_path: Path) -> None:
    words = [*WORDS, "model=tiny", "strategy=ddp", "trainer.devices=2", "data.batch=1", "trainer.max_steps=2"]
    process = start("train.py", *words, "name=copies", cwd=with_clips(tmp_path))
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "strategy ddp" in said
    assert "reducer.cpp" not in said
    assert "Warning" not in said
