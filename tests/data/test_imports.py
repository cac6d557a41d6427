"""What importing the data package costs."""

import subprocess
import sys

import pytest

ALONE = """
import sys
from pathlib import Path
import vxl.data
folder = Path(vxl.data.__file__).parent
for path in sorted(folder.glob("*.py")):
    if path.stem not in ("module", "__init__"):
        __import__(f"vxl.data.{path.stem}")
print([name for name in ("lightning", "hydra", "omegaconf", "wandb", "torchvision") if name in sys.modules])
"""


@pytest.mark.slow
def test_only_the_data_module_needs_lightning_and_nothing_needs_hydra():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
