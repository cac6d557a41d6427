"""The tutorial of a sweep on SLURM, followed on a SLURM."""

from pathlib import Path

import pytest

from tests.acceptance.scripts import ROOT, with_clips
from tests.cluster.slurm import Slurm
from tests.tutorials import follow, typed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_slurm_sweep(slurm: Slurm, tmp_path: Path) -> None:
    place = with_clips(tmp_path)
    # conf/local is the checkout's own and is left alone; the last commands score what has been waited for.
    lines = typed(ROOT / "docs" / "tutorials" / "slurm_sweep.md", "pip ", "squeue", "vxl runs watch")
    submitted = [line for line in lines if "cluster=slurm" in line[0]]
    assert len(submitted) == 4
    said = follow(submitted, place, slurm.environment)
    assert "#SBATCH" in said[submitted[0][0]]
    slurm.wait(600)
    members = {run.name: (run / "RESULT.json").is_file() for run in (place / "runs" / "ratios").glob("*=*")}
    assert members == {f"ratio={ratio}": True for ratio in (1, 4, 16, 64)}
    follow(lines[lines.index(submitted[-1]) + 1 :], place, slurm.environment)
    assert (place / "ratios.html").is_file()
