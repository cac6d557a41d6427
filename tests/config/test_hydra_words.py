"""Hydra's flags and settings: shown, meant, or refused with what to type."""

import pytest

from vxl.config.command import run_command
from vxl.config.hydra_words import refuse_hydra_settings, split_flags
from vxl.errors import ConfigError


def test_flags_keep_their_values() -> None:
    words = ["model=tiny", "--cfg", "job", "seed=1", "-m"]
    assert split_flags(words) == (["--cfg", "job", "-m"], ["model=tiny", "seed=1"])


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("hydra.run.dir=/tmp", "type  paths.runs=FOLDER name=NAME"),
        ("hydra.sweep.dir=/tmp", "type  paths.runs=FOLDER name=NAME"),
        ("hydra.sweeper.n_trials=3", "hydra/sweeper=optuna"),
        ("+hydra/launcher=joblib", "type  cluster=slurm or cluster=local"),
        ("hydra.verbose=true", "debug=traceback"),
        ("hydra.mode=MULTIRUN", "Hydra only composes the config."),
    ],
)
def test_a_setting_of_hydra_says_what_to_type(word: str, instead: str) -> None:
    with pytest.raises(ConfigError) as error:
        refuse_hydra_settings([], ["seed=1", word])
    assert str(error.value).startswith(f"{word} has no effect here: ")
    assert instead in str(error.value)


def test_what_has_a_meaning_passes() -> None:
    refuse_hydra_settings(["-m"], ["hydra.searchpath=[file:///x]", "seed=1"])
    with pytest.raises(ConfigError, match="--config-dir has no effect here"):
        refuse_hydra_settings(["--config-dir", "x"], [])


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_ctrl_c_outside_the_training_loop_is_a_line(name, monkeypatch, capsys) -> None:
    def interrupted(*arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("vxl.config.command._run", interrupted)
    monkeypatch.setattr("vxl.config.command._run_benchmarks", interrupted)
    assert run_command(name, lambda config, composed: None, ["seed=1"]) == 130
    shown = capsys.readouterr()
    saved = ", from the last checkpoint if there is one" if name == "train" else ""
    assert shown.err == f"\nstopped; the same command goes on{saved}\n"
    assert shown.out == ""
