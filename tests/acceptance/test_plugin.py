"""A package of a user's own: a compressor and a policy that vxl has never seen, trained and loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.forked import typed
from tests.acceptance.scripts import with_clips

CODE = '''
"""A compressor that keeps one token a frame, and a policy that forgets nothing."""

from dataclasses import dataclass

from vxl.compressor.base import Compressor, CompressorConfig
from vxl.compressor.plan import CompressorPlan
from vxl.kv.full import Full, FullConfig


@dataclass(frozen=True, kw_only=True)
class MineConfig(CompressorConfig):
    """One token a frame."""

    _target_: str = "mylab.parts.Mine"
    gain: float = 1.0
    """Factor of the mean."""


class Mine(Compressor):
    def __init__(self, config: MineConfig, **runtime):
        super().__init__(config, **runtime)

    @classmethod
    def plan(cls, config, grid):
        return CompressorPlan(frames_per_group=1, tokens_per_group=1, temporal=1, spatial=grid, ratio=grid**2)

    def compress(self, patches_GFPV):
        return self.projector(patches_GFPV.mean(2) * self.config.gain)


@dataclass(frozen=True, kw_only=True)
class KeepConfig(FullConfig):
    """Everything stays."""

    _target_: str = "mylab.parts.Keep"


class Keep(Full):
    def __init__(self, config: KeepConfig):
        super().__init__(config)
'''
LOAD = (
    "import vxl; "
    "m = vxl.load('runs/own', device='cpu', overrides=['plugins=[mylab]']).model; "
    "print(type(m.compressor).__name__)"
)


@pytest.mark.slow
def test_a_users_parts_train_resume_and_load(tmp_path: Path) -> None:
    package = with_clips(tmp_path) / "mylab"
    for group, text in (
        ("compressor/mine", "_target_: mylab.parts.Mine\nratio: 16\ngain: 2.0\n"),
        ("kv/mine", "_target_: mylab.parts.Keep\n"),
    ):
        file = package / "conf" / f"{group}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"# Mine.\n{text}")
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(CODE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    words = ["plugins=[mylab]", "compressor=mine", "kv=mine", "compressor.ratio=16", "name=own", "logger=csv"]
    words += ["trainer=cpu", "trainer.val_every=0", "data.held_out=4", "data.workers=0"]
    for steps in (3, 5):
        more = f"trainer.max_steps={steps}"
        status, said = typed("train.py", *words, more, cwd=tmp_path, environment=environment)
        assert status == 0, said
    assert "goes on after step 3" in said
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert loaded.stdout.strip() == "Mine", loaded.stderr
