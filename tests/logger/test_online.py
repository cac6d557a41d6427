"""W&B online, against a stand-in of its server: what a dashboard would be sent, and what is joined."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.logger import standin
from tests.logger.standin import Received
from vxl.logger.prediction import Prediction
from vxl.logger.wandb import Wandb, WandbConfig

FRAMES_FCHW = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("wandb_itself"), pytest.mark.timeout(180)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    with standin.served() as received:
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("WANDB_BASE_URL", received.address)
        monkeypatch.setenv("WANDB_API_KEY", standin.KEY)
        yield received


def start(folder: Path, steps: range, exit_code: int = 0) -> str:
    """One start of a run, which logs some steps."""
    folder.mkdir(exist_ok=True)
    (folder / "resolved.yaml").write_text("compressor: {ratio: 16}\n")
    sink = Wandb(
        WandbConfig(tags=["mine"], notes="why"),
        directory=folder,
        name="s/ratio=16",
        group="s",
        settings={"compressor": {"ratio": 16}, "choices": {"kv": "full"}},
    )
    for step in steps:
        sink.log({"loss": 10.0 - step, "val/accuracy": 0.1 * step}, step)
        sink.table([Prediction("q", "What?", "A", "B", 0.5, FRAMES_FCHW)], step)
    if not exit_code:
        sink.facts({"final/seconds": 4.5, "status": "finished"})
    sink.finish(exit_code)
    return (folder / "wandb_id.txt").read_text().strip()


def test_a_run_that_goes_on_is_one_run_with_all_its_steps(tmp_path: Path, server: Received) -> None:
    began = time.monotonic()
    name = start(tmp_path, range(1, 4), exit_code=1)
    assert server.exit_code(name) == 1
    assert start(tmp_path, range(4, 6)) == name
    assert time.monotonic() - began < 90
    assert list(server.runs) == [name]
    run = server.runs[name]
    assert (run["groupName"], run["jobType"], run["displayName"]) == ("s", "train", "s/ratio=16")
    assert run["notes"] == "why"
    assert {"mine", "s", "kv=full"} <= set(run["tags"])
    assert '"ratio":16' in run["config"].replace(" ", "")
    assert {step: row["loss"] for step, row in server.history(name).items()} == {
        step: 10.0 - step for step in range(1, 6)
    }
    summary = server.summary(name)
    assert summary["status"] == "finished"
    assert summary["val/accuracy"] == {"max": 0.5, "last": 0.5}
    assert summary["trainer/global_step"] == 5
    assert (summary["val/predictions"]["_type"], summary["val/predictions"]["nrows"]) == ("table-file", 1)
    assert summary["val/frames"]["_type"] == "images/separated"
    assert server.exit_code(name) == 0
    assert server.files[f"{name}/resolved.yaml"] == b"compressor: {ratio: 16}\n"


def test_a_repeated_evaluation_replaces_the_numbers_in_the_run_of_the_first(
    tmp_path: Path, server: Received
) -> None:
    for accuracy, step in ((0.25, 100), (0.5, 200), (0.75, 200)):
        sink = Wandb(WandbConfig(), directory=tmp_path, name="s clips", job_type="evaluate")
        sink.log({"evaluate/clips/accuracy": accuracy}, step)
        sink.show({"answers": [{"key": "q", "score": accuracy}]}, {})
        sink.finish(0)
    (name,) = server.runs
    summary = server.summary(name)
    assert summary["evaluate/clips/accuracy"] == 0.75  # by its own name, as a saved view asks for it
    assert summary["answers"]["_type"] == "table-file"  # so that W&B shows it as a table
    rows = [row for row in server.history(name).values() if "evaluate/clips/accuracy" in row]
    assert [(row["trainer/global_step"], row["evaluate/clips/accuracy"]) for row in rows] == [
        (100, 0.25),
        (200, 0.5),
        (200, 0.75),
    ]


def test_the_offline_starts_of_a_run_are_sent_as_one(
    tmp_path: Path, server: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    name = start(tmp_path, range(1, 4), exit_code=1)
    time.sleep(1.1)  # their folders are named by the second
    assert start(tmp_path, range(4, 6)) == name
    folders = sorted(map(str, tmp_path.glob("wandb/offline-run-*")))
    assert len(folders) == 2
    assert not server.runs
    monkeypatch.delenv("WANDB_MODE")
    command = [str(Path(sys.executable).with_name("wandb")), "sync", *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(server.runs) == [name]
    assert sorted(server.history(name)) == [1, 2, 3, 4, 5]
    assert server.summary(name)["status"] == "finished"
    assert server.files[f"{name}/resolved.yaml"] == b"compressor: {ratio: 16}\n"
    assert all(list(Path(folder).glob("*.synced")) for folder in folders)


def test_a_run_of_wandb_agent_is_the_one_that_its_sweep_proposed(
    tmp_path: Path, server: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposed = tmp_path / "config.yaml"
    proposed.write_text("wandb_version: 1\ncompressor.ratio:\n  value: 16\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp1")
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(proposed))
    monkeypatch.setenv("WANDB_RUN_GROUP", "theirs")
    assert start(tmp_path / "run", range(1, 3)) == "run1"
    run = server.runs["run1"]
    assert (run["groupName"], run["sweep"]) == ("theirs", "swp1")
    assert '"compressor.ratio":{"value":16}' in run["config"].replace(" ", "")
    assert server.summary("run1")["status"] == "finished"
