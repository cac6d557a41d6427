"""Searches: what a sweeper of Hydra's plug-ins proposes is run and told back; W&B's agent names its runs."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from vxl.config.command import run_command
from vxl.config.search import as_agents_run
from vxl.option.rebuild import plain
from vxl.run.metrics import MetricsFile
from vxl.run.name import run_name

TOLD: list[float] = []


class Halving(Sweeper):
    """Stands for a search: halves the first number of an interval again and again."""

    __module__ = "hydra_plugins.halving"  # Hydra takes sweepers from there alone

    def __init__(self, trials: int) -> None:
        self.trials = trials

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        (searched,) = [word for word in arguments if "interval(" in word]
        fixed = [word for word in arguments if word != searched]
        key, _, interval = searched.partition("=")
        value = float(interval.removeprefix("interval(").partition(",")[0])
        for number in range(self.trials):
            (done,) = self.launcher.launch([[*fixed, f"{key}={value}"]], initial_job_idx=number)
            TOLD.append(done.return_value)
            value /= 2


@dataclass
class HalvingConf:
    _target_: str = "hydra_plugins.halving.Halving"
    trials: int = 3


@pytest.fixture(autouse=True)
def sweeper(monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("hydra_plugins"), ModuleType("hydra_plugins.halving")
    vars(module)["Halving"] = Halving
    vars(package).update(halving=module, __path__=[])
    monkeypatch.setitem(sys.modules, "hydra_plugins", package)
    monkeypatch.setitem(sys.modules, "hydra_plugins.halving", module)
    Plugins.instance().register(Halving)
    ConfigStore.instance().store(group="hydra/sweeper", name="halving", node=HalvingConf, provider="tests")
    TOLD.clear()


def trains(config: Any, composed: str) -> None:
    """Stands for a training: after step 0 its loss is the learning rate, then a bit more."""
    folder = Path(config.paths.runs) / run_name(config)
    folder.mkdir(parents=True)
    (folder / "resolved.yaml").write_text(yaml.safe_dump(plain(config)))
    metrics = MetricsFile(folder / "metrics.csv")
    for step, loss in enumerate((0.01, config.optim.lr, 1.5 * config.optim.lr)):
        metrics.append(step, {"val/loss": loss})
    if config.optim.lr < 0.05:
        raise ValueError("too small")
    (folder / "RESULT.json").write_text(json.dumps({"heldout_accuracy": 0.5}))


def search(runs: Path, *words: str) -> int:
    return run_command("train", trains, ["hydra/sweeper=halving", f"paths.runs={runs}", "logger=csv", *words])


def test_a_sweeper_is_told_the_best_of_each_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optim.lr=interval(0.4,1.0)", "name=found", "seed=3", "hydra.sweeper.trials=2"]
    assert search(tmp_path, *words) == 0
    assert TOLD == [0.4, 0.2]
    folders = sorted(path.name for path in (tmp_path / "found").iterdir() if path.is_dir())
    assert folders == ["lr=0.2", "lr=0.4"]
    config = yaml.safe_load((tmp_path / "found" / "lr=0.2" / "resolved.yaml").read_text())
    assert (config["optim"]["lr"], config["seed"], config["sweep_name"]) == (0.2, 3, "found")
    printed = capsys.readouterr().out
    assert "trial 2: lr=0.2" in printed
    assert "best of 2: lr=0.2, val/loss 0.2 (min)" in printed


def test_a_trial_that_fails_is_the_sweepers_to_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(tmp_path, "optim.lr=interval(0.08,1.0)") == 1
    shown = capsys.readouterr()
    assert TOLD == [0.08]
    assert "the search has ended: lr=0.04 failed: too small" in shown.err
    assert "best of 1: lr=0.08" in shown.out
    assert next(tmp_path.iterdir()).name.startswith("halving-")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra/sweeper=absent"], "pip install hydra-optuna-sweeper"),
        (["dry_run=true"], "dry_run=true can't be searched through"),
        (["cluster=local"], "a search runs its trials in this process"),
        (["checkpoint.best=val/nothing", "optim.lr=interval(0.4,1.0)"], "val/nothing was not measured"),
        (["optim.lrr=interval(0.4,1.0)"], "optim.lr"),
    ],
)
def test_what_can_not_be_searched_is_refused_in_words(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(tmp_path, *words) != 0
    assert said in capsys.readouterr().err


def test_a_run_of_wandb_agent_lies_below_its_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["model=tiny", "optim.lr=0.4", f"paths.runs={tmp_path}", "logger=csv"]
    assert as_agents_run(words) == words
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp1")
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    assert as_agents_run([*words, "name=mine"]) == [*words, "name=mine"]
    assert run_command("train", trains, words) == 0
    assert (tmp_path / "swp1" / "run1" / "RESULT.json").is_file()


def test_a_sweeper_that_breaks_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep(self: Halving, arguments: list[str]) -> None:  # as Optuna's with packages that do not fit it
        version = None
        assert version is not None

    monkeypatch.setattr(Halving, "sweep", sweep)
    assert search(tmp_path, "optim.lr=interval(0.4,1.0)") == 2
    said = capsys.readouterr().err
    assert "config error: hydra/sweeper=halving has failed: AssertionError" in said
    assert "(test_search.py, line " in said
    assert "Traceback" not in said
    assert search(tmp_path, "optim.lr=interval(0.4,1.0)", "debug=traceback") == 2
    assert "assert version is not None" in capsys.readouterr().err
