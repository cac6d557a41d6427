"""What importing the data package costs."""

import subprocess
import sys

import pytest

ALONE = """
import sys
from pathlib import Path
import vxl.data
folder = Path(vxl.data.__file__).parent
for path in sorted(folder.rglob("*.py")):
    if path.stem != "__init__":
        __import__(".".join(("vxl.data", *path.relative_to(folder).with_suffix("").parts)))
print([name for name in ("lightning", "hydra", "omegaconf", "wandb", "torchvision") if name in sys.modules])
"""


@pytest.mark.slow
def test_data_needs_neither_lightning_nor_hydra():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
