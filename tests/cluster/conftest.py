"""One cluster for all tests of this folder; they run where VXL_TEST_SLURM=1 says that SLURM is installed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.forked import typed
from tests.acceptance.scripts import with_clips
from tests.cluster.slurm import Slurm, cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    if os.environ.get("VXL_TEST_SLURM") != "1":
        pytest.skip("VXL_TEST_SLURM=1 runs this against a SLURM of its own (apt-get install slurm-wlm munge)")
    folder = Path(tempfile.mkdtemp(prefix="vxl-slurm-"))  # short: munge's socket lies below it
    try:
        with cluster(folder, cpus=4) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# A training of seconds, of which nothing is lost: every step is logged, and few checkpoints are written.
SHORT = [
    "trainer=cpu",
    "trainer.val_every=0",
    "trainer.log_every=1",
    "checkpoint.every=6",
    "data.workers=1",
    "data.batch=2",
    "data.held_out=4",
    "logger=csv",
]


class Place:
    """A working directory from which runs are submitted to the cluster."""

    SUBMIT = ("cluster=slurm", "cluster.cpus_per_task=1", "cluster.signal_seconds=30")

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        self.folder, self.slurm = folder, slurm

    def run(self, name: str) -> Path:
        """A run directory."""
        return self.folder / "runs" / name

    def train(self, *words: str, steps: int = 30, status: int = 0) -> str:
        """What `python train.py` prints, in this folder and with this cluster's commands at hand."""
        words = (*SHORT, f"trainer.max_steps={steps}", *words)
        found, text = typed("train.py", *words, cwd=self.folder, environment=self.slurm.environment)
        assert found == status, text
        return text

    def submit(self, *words: str, steps: int = 30, status: int = 0) -> str:
        """The same, submitted."""
        return self.train(*words, *self.SUBMIT, steps=steps, status=status)

    def vxl(self, *words: str) -> str:
        """What `vxl WORDS` prints."""
        environment = {**self.slurm.environment, "COLUMNS": "200"}
        status, text = typed("vxl", *words, cwd=self.folder, environment=environment)
        assert status == 0, text
        return text

    def output(self, name: str) -> str:
        """Everything that the jobs of a run or sweep printed."""
        return "\n".join(file.read_text() for file in sorted(self.run(name).glob("slurm/*.out")))


@pytest.fixture(scope="session")
def place(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    found = Place(with_clips(tmp_path_factory.mktemp("slurm")), slurm)
    found.train("name=undisturbed")  # here, without SLURM
    return found
