"""Every tutorial is followed from its first command to its last; that of SLURM is in tests/cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.scripts import ROOT, with_clips
from tests.checkpoint.published.folders import publish, weights
from tests.run_directories import TEXTS, make_run
from tests.tutorials import follow, typed, write_files
from vxl.data.batch.tokenizer import save_tokenizer, train_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PAGES = ROOT / "docs" / "tutorials"
WITHOUT_VXL = """
import sys
sys.modules["vxl"] = sys.modules["mylab"] = None
from transformers import AutoModelForCausalLM, AutoProcessor
model = AutoModelForCausalLM.from_pretrained("exported/weighted", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("exported/weighted", trust_remote_code=True)
settings = {"max_new_tokens": 4}
print(model.chat("examples/clips/city.mp4", processor.tokenizer, "What?", generation_config=settings)[0])
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory as a checkout is one: with the clips."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return with_clips(tmp_path)


def test_there_is_a_test_for_every_tutorial() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {page.stem for page in PAGES.glob("*.md")} - tests == {"slurm_sweep"}


def test_quickstart(place: Path) -> None:
    page = ROOT / "docs" / "quickstart.md"
    elsewhere = ("pip ", "vxl serve", "lmms-eval", "eval ", "vxl completion")  # each has tests of its own
    said = follow(typed(page, *elsewhere), place)
    assert "compressor=dts" in said["vxl explain compressor"]
    assert (place / "two.html").is_file()
    assert (place / "exported" / "first" / "modeling_vxl.py").is_file()


def test_own_data(place: Path) -> None:
    page = PAGES / "own_data.md"
    assert write_files(page, place) == ["mine.json", "val.json", "held_out.json"]
    said = follow(typed(page), place)
    assert "3 samples in 1 shard" in next(text for command, text in said.items() if "write" in command)
    assert {run.name for run in (place / "runs").iterdir()} == {"mine", "sharded"}


def test_own_compressor(place: Path) -> None:
    page = PAGES / "own_compressor.md"
    write_files(page, place)
    said = follow(typed(page), place)
    (explained,) = (text for command, text in said.items() if "explain" in command)
    assert "Factor of the scores: 0 is the plain mean." in explained
    (refused,) = (text for command, text in said.items() if "ratio=15" in command)
    assert "ratios that fit: 1, 4, 16" in refused
    assert "weighted" in (place / "pools.html").read_text()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_VXL], cwd=place, capture_output=True, text=True, timeout=300,
        env=clean | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(place / "modules")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (place / "exported" / "weighted" / "mylab_weighted.py").is_file()
    assert (
        "that of mylab (`mylab_*.py`) is not" in (place / "exported" / "weighted" / "README.md").read_text()
    )


def test_own_policy(place: Path) -> None:
    page = PAGES / "own_policy.md"
    write_files(page, place)
    make_run(place / "runs", "first")
    said = follow(typed(page), place)
    (explained,) = (text for command, text in said.items() if "explain" in command)
    assert "Which norm." in explained
    assert "longest" in (place / "policies.html").read_text()


def test_published(place: Path) -> None:
    publish(place / "Video-XL-2", weights())
    save_tokenizer(train_tokenizer(TEXTS, 300), place / "tokenizer")
    for file in (place / "tokenizer").iterdir():
        file.rename(place / "Video-XL-2" / file.name)
    said = follow(typed(PAGES / "published.md"), place)
    assert "GPU-hours" in next(text for command, text in said.items() if "cost" in command)
    for file in (place / "Video-XL-2").glob("*.safetensors"):
        assert (place / "back" / file.name).read_bytes() == file.read_bytes()
    assert (place / "transformers" / "modeling_vxl.py").is_file()


def test_reading(place: Path) -> None:
    follow(typed(PAGES / "reading.md"), place)
    assert len(list((place / "runs" / "ratios").glob("ratio=*"))) == 9
    assert all((place / name).is_file() for name in ("page.html", "numbers.json", "members.csv"))
