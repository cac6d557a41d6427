"""What a new user types, from the first run to a table: exit status, files and what the screen says."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.forked import typed
from tests.acceptance.scripts import ROOT, start

pytestmark = pytest.mark.slow

CLIP = ROOT / "examples" / "clips" / "sintel_trailer.mp4"
CITY = CLIP.with_name("city.mp4")
SHORT = "trainer.max_steps=20"
FEW = ["trainer.max_steps=2", "trainer.val_every=0", "data.held_out=4"]
"""For runs of which nothing is asked but that they are there."""


def said(script: str, *words: str, cwd: Path, status: int = 0) -> str:
    """What a command prints, after its exit status was checked."""
    found, text = typed(script, *words, cwd=cwd)
    assert found == status, text
    assert "Traceback" not in text
    return text


def started(script: str, *words: str, cwd: Path) -> str:
    """The same of a command that a new process carries out, as a user's does."""
    process = start(script, *words, cwd=cwd)
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    assert "Traceback" not in text
    return text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with one short run called first."""
    path = tmp_path_factory.mktemp("stories")
    text = started("train.py", "name=first", SHORT, cwd=path)
    for line in ("training loss", "training accuracy", "held-out accuracy", "visual tokens a frame"):
        assert line in text
    assert "next:  vxl evaluate run=first benchmark=clips" in text
    return path


def test_a_run_is_a_directory(place: Path) -> None:
    found = {path.name for path in (place / "runs" / "first").iterdir()}
    files = {"config.yaml", "resolved.yaml", "provenance.json", "metrics.csv", "wandb_id.txt", "RESULT.json"}
    assert files | {"checkpoints", "tokenizer", "train.log"} <= found
    result = json.loads((place / "runs/first/RESULT.json").read_text())
    assert result["steps"] == 20
    assert result["heldout_questions"] >= 100


def test_the_same_command_again_says_that_it_is_finished(place: Path) -> None:
    assert "is finished (20 steps); nothing to do." in said("train.py", "name=first", SHORT, cwd=place)


def test_a_changed_config_is_refused_with_its_differences(place: Path) -> None:
    text = said("train.py", "name=first", SHORT, "optim.lr=1e-3", "compressor.ratio=4", cwd=place, status=2)
    assert "optim.lr" in text
    assert "compressor.ratio" in text
    longer = said("train.py", "name=first", "trainer.max_steps=22", "checkpoint.every=11", cwd=place)
    assert "goes on after step 20" in longer


def test_evaluate(place: Path) -> None:
    text = started("evaluate.py", "run=first", "benchmark=clips", cwd=place)
    assert "95 % interval" in text
    report = json.loads((place / "runs/first/evaluate/clips.json").read_text())
    assert report
    assert "prefill" in text


def test_ask(place: Path) -> None:
    command = [sys.executable, "-m", "vxl.cli.main", "ask", "run=first", str(CLIP)]
    command += ["Which creature flies in the orange sky?"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_sweep_needs_no_flag_and_compares(place: Path) -> None:
    text = said("train.py", "model=videoxl2", "size=tiny", "+sweep=compression", *FEW, cwd=place)
    (sweep,) = (place / "runs").glob("compression-*")
    members = sorted(path.name for path in sweep.iterdir() if path.is_dir())
    assert members == ["ratio=16", "ratio=4", "ratio=64"]
    assert f"vxl compare {sweep.name}" in text
    for member in members:
        assert len(list((sweep / member / "wandb").glob("offline-run-*"))) == 1
    table = said("vxl", "compare", sweep.name, cwd=place)
    assert all(f" {ratio} " in table for ratio in (4, 16, 64))
    assert "first" in said("vxl", "runs", cwd=place)


def test_a_failing_member_does_not_stop_the_others(place: Path) -> None:
    words = ["name=mixed", "compressor.ratio=16,6", *FEW, "logger=csv"]
    text = said("train.py", *words, cwd=place, status=1)
    assert "compressor.ratio=6 does not fit a grid of 4 x 4 patches" in text
    assert "1 of 2 members failed" in text
    assert (place / "runs/mixed/ratio=16/RESULT.json").exists()
    assert (place / "runs/mixed/ratio=6/FAILED.json").exists()
    assert "is finished" in said("train.py", *words, cwd=place, status=1)


def test_a_users_own_data_and_a_warm_start(place: Path) -> None:
    """What the README's section on one's own data types, in its order."""
    block = (ROOT / "README.md").read_text().partition("## Your own data")[2].partition("```bash\n")[2]
    commands = [shlex.split(line, comments=True) for line in block.partition("```")[0].splitlines()]
    typed = [words for words in commands if words[0] == "python" and not words[2].startswith("plugins=")]
    assert [words[2].partition("=")[2] for words in typed] == ["json", "shards", "mixture", "first"]
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A city."}]
    items = [{"id": str(n), "video": "city.mp4", "conversations": turns} for n in range(4)]
    (place / "mine.json").write_text(json.dumps(items))
    (place / "videos").mkdir()
    shutil.copy(CITY, place / "videos")
    before = set(place.glob("runs/tiny-*/RESULT.json"))
    for words in commands:
        if words[:2] == ["vxl", "shards"]:
            assert "4 samples in 1 shard in shards" in said(*words, cwd=place)
        elif words in typed:
            text = said("train.py", *words[2:], *FEW, cwd=place)
            assert ("tensors loaded" in text) == words[2].startswith("init_from=")
    assert len(set(place.glob("runs/tiny-*/RESULT.json")) - before) == len(typed)


@pytest.mark.timeout(1200)
def test_tiny_learns_in_minutes(place: Path) -> None:
    said("train.py", "name=learned", "logger=csv", cwd=place)
    result = json.loads((place / "runs/learned/RESULT.json").read_text())
    assert result["train_accuracy"] >= 0.8
    assert result["heldout_loss"] <= 0.7 * result["heldout_loss_first"]
    assert result["heldout_interval"][0] > result["chance"]
