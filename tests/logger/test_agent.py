"""`wandb sweep` and `wandb agent`, their own processes, drive train.py against a stand-in of W&B's server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.logger import standin
from vxl.run.metrics import MetricsFile
from vxl.run.objective import objective

ROOT = Path(__file__).parents[2]
WANDB = str(Path(sys.executable).with_name("wandb"))
SWEEP = {
    "program": "train.py",
    "method": "bayes",
    "metric": {"name": "objective", "goal": "minimize"},
    "parameters": {"compressor.ratio": {"values": [4, 16]}, "optim.lr": {"min": 0.0001, "max": 0.01}},
}
PIPED: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
SMALL = ["model=tiny", "trainer.max_steps=2", "trainer.val_every=1", "data.batch=2", "data.workers=0"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_agents_own_process_trains_what_the_sweep_proposes(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    words = [
        "${env}",
        sys.executable,
        "${program}",
        *SMALL,
        f"paths.runs={tmp_path}/runs",
        "${args_no_hyphens}",
    ]
    file.write_text(yaml.safe_dump({**SWEEP, "command": words}))
    with standin.served() as server:
        mine = {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": standin.KEY, "WANDB_DIR": str(tmp_path)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**inherited, **mine, "PYTHONPATH": path}

        def typed(*words: str) -> str:
            command = [WANDB, *words]
            with subprocess.Popen(
                command, cwd=ROOT, env=environment, start_new_session=True, **PIPED
            ) as process:
                try:
                    printed, _ = process.communicate(timeout=500)
                finally:  # what the agent has started, too
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
            assert process.returncode == 0, printed
            return printed

        assert "wandb agent me/vxl/swp1" in typed("sweep", "-p", "vxl", "-e", "me", str(file))
        proposals = [{"compressor.ratio": 16, "optim.lr": 0.002}, {"compressor.ratio": 4, "optim.lr": 0.001}]
        server.proposals += proposals
        typed("agent", "me/vxl/swp1")
    assert sorted(server.runs) == ["run1", "run2"]
    for name, values in zip(("run1", "run2"), proposals, strict=True):
        folder = tmp_path / "runs" / "swp1" / name
        assert (folder / "wandb_id.txt").read_text().strip() == name
        config = yaml.safe_load((folder / "resolved.yaml").read_text())
        assert (config["compressor"]["ratio"], config["optim"]["lr"]) == tuple(values.values())
        run = server.runs[name]
        assert (run["sweep"], run["groupName"], run["jobType"]) == ("swp1", "swp1", "train")
        assert json.loads(run["config"])["compressor.ratio"]["value"] == values["compressor.ratio"]
        assert server.exit_code(name) == 0
        reached = objective(MetricsFile(folder / "metrics.csv"), "val/loss", "min")
        assert server.summary(name)["objective"] == reached
        assert server.summary(name)["status"] == "finished"
        assert sorted(server.history(name)) == [0, 1, 2]
    assert {"run1": True} in server.beats
