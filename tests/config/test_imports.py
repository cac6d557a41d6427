"""Who may import what."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HYDRA = {"hydra", "omegaconf"}
# Training may; a model that is loaded, asked and evaluated may not.
TRAINING = {"lightning", "wandb"}
MODEL_SIDE = (
    "video",
    "vision",
    "compressor",
    "prune",
    "selector",
    "llm",
    "prefill",
    "kv",
    "relevance",
    "generate",
)


@functools.cache
def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_hydra_stays_in_the_config_package() -> None:
    allowed = {ROOT / "train.py", ROOT / "evaluate.py"}
    files = [*(ROOT / "vxl").rglob("*.py"), *allowed]
    guilty = [
        str(file.relative_to(ROOT))
        for file in files
        if imported(file) & HYDRA and file not in allowed and file.parent != ROOT / "vxl" / "config"
    ]
    assert guilty == []


def test_the_model_side_has_neither_lightning_nor_wandb() -> None:
    files = [file for part in MODEL_SIDE for file in (ROOT / "vxl" / part).rglob("*.py")]
    files += [ROOT / "vxl" / "model.py"]
    guilty = [str(file.relative_to(ROOT)) for file in files if imported(file) & (HYDRA | TRAINING)]
    assert guilty == []


def test_nothing_imports_the_experiments_or_the_tests() -> None:
    guilty = [str(file) for file in (ROOT / "vxl").rglob("*.py") if imported(file) & {"experiments", "tests"}]
    assert guilty == []


def test_torchvision_is_not_needed() -> None:
    assert [str(file) for file in (ROOT / "vxl").rglob("*.py") if "torchvision" in imported(file)] == []


@pytest.mark.slow
def test_a_model_is_built_without_hydra_lightning_and_wandb() -> None:
    program = (
        "import sys\n"
        "for name in ('hydra', 'omegaconf', 'lightning', 'wandb'): sys.modules[name] = None\n"
        "import vxl, vxl.model, vxl.generate, vxl.checkpoint.load, vxl.evaluate.run, vxl.cli.main\n"
        "import vxl.video.load, vxl.vision.siglip, vxl.compressor.dts, vxl.llm.decoder, vxl.kv.streaming\n"
        "print('built without')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "built without\n", done.stderr
