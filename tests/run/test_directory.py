import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.run.test_changes import changed
from tests.train.quick_training import Config, DataConfig, Paths
from vxl.errors import CheckpointError, ConfigError
from vxl.option.rebuild import plain
from vxl.run.changes import config_fingerprint
from vxl.run.directory import RunDirectory, write_resolved
from vxl.run.name import run_name


@pytest.fixture
def config(tmp_path):
    return Config(paths=Paths(runs=str(tmp_path)), name="first")


def opened(config, composed="model: fake\n"):
    with RunDirectory.open(config, composed) as directory:
        return directory


def finish(directory):
    directory.result.write_text("{}")


def test_names():
    config = Config()
    assert run_name(config) == f"fake-{config_fingerprint(config)}"
    assert run_name(dataclasses.replace(config, name="x")) == "x"
    member = dataclasses.replace(config, sweep_name="compression-1f", sweep_member="kv=a/b", name="x")
    assert run_name(member) == "compression-1f/kv=a_b"


def test_a_new_run_holds_its_configs_and_where_it_comes_from(config, tmp_path):
    directory = opened(config)
    assert (directory.status, directory.path) == ("new", tmp_path / "first")
    assert (directory.path / "config.yaml").read_text() == "model: fake\n"
    assert yaml.safe_load((directory.path / "resolved.yaml").read_text()) == plain(config)
    (session,) = json.loads((directory.path / "provenance.json").read_text())["sessions"]
    assert session["packages"]["torch"]
    assert not (directory.path / ".lock").exists()


def test_the_same_config_resumes_and_then_is_finished(config):
    opened(config)
    directory = opened(config, composed="other: text\n")
    assert directory.status == "resume"
    assert (directory.path / "config.yaml").read_text() == "model: fake\n"
    finish(directory)
    assert opened(config).status == "finished"
    sessions = json.loads((directory.path / "provenance.json").read_text())["sessions"]
    assert len(sessions) == 2  # a start that finds everything done is none


def test_resumable_keys_are_recorded(config):
    opened(config)
    directory = opened(changed(config, data={"workers": 2}))
    assert [(d.key, d.old, d.new) for d in directory.changes] == [("data.workers", 0, 2)]
    assert yaml.safe_load((directory.path / "resolved.yaml").read_text())["data"]["workers"] == 2
    sessions = json.loads((directory.path / "provenance.json").read_text())["sessions"]
    assert sessions[1]["changes"] == [{"key": "data.workers", "old": 0, "new": 2}]


def test_more_steps_let_a_finished_run_go_on(config):
    finish(opened(config))
    directory = opened(changed(config, trainer={"max_steps": 12}))
    assert directory.status == "resume"
    assert not directory.result.exists()


@pytest.mark.parametrize("done", [False, True])
def test_a_changed_config_is_refused_with_every_difference(config, done):
    directory = opened(config)
    if done:
        finish(directory)
    other = changed(config, seed=1, data=DataConfig(scale=2.0), trainer={"max_steps": 3, "val_every": 1})
    with pytest.raises(ConfigError) as error:
        opened(other)
    assert str(error.value) == (
        f"the run {directory.path} has another config:\n"
        "  data.scale         1.0 -> 2.0\n"
        "  seed               0 -> 1\n"
        "  trainer.max_steps  6 -> 3  (only a larger number lets the run go on)\n"
        "  go on with it:          give these keys their first values\n"
        "  a run of its own:       name=NAME\n"
        "  start this one anew:    on_existing=overwrite  (removes it)\n"
        f"  start from its weights: init_from={directory.path} name=NAME"
    )
    assert opened(config).status == (
        "finished" if done else "resume"
    )  # nothing was touched, the lock is back


def test_on_existing_fail(config):
    opened(config)
    with pytest.raises(ConfigError, match=r"the run .*first exists"):
        opened(dataclasses.replace(config, on_existing="fail"))


def test_on_existing_overwrite_removes_the_run_and_nothing_else(config):
    directory = opened(config)
    finish(directory)
    (directory.checkpoints / "step-000003").mkdir()
    (directory.path / "notes.txt").write_text("mine")
    anew = opened(changed(config, on_existing="overwrite", seed=5))
    assert anew.status == "new"
    assert list(anew.checkpoints.iterdir()) == []
    assert not anew.result.exists()
    assert (anew.path / "notes.txt").read_text() == "mine"


def test_an_overwrite_that_was_killed_is_gone_on_with(config):
    directory = opened(config)
    (directory.path / ".removing").touch()
    (directory.path / "provenance.json").unlink()
    (directory.checkpoints / "step-000003").mkdir()
    assert opened(config).status == "new"
    assert list(directory.checkpoints.iterdir()) == []


def test_a_folder_that_is_no_run_is_left_alone(config, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "thesis.tex").write_text("")
    for on_existing in ("resume", "overwrite"):
        with pytest.raises(ConfigError, match=r"no run directory: it holds thesis\.tex"):
            opened(dataclasses.replace(config, on_existing=on_existing))


def test_a_start_that_was_killed_begins_anew(config, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.yaml").write_text("half")
    assert opened(config).status == "new"
    assert (tmp_path / "first" / "config.yaml").read_text() == "model: fake\n"


def test_a_run_that_failed_before_its_first_step_begins_anew_under_any_config(config):
    with pytest.raises(ValueError, match="at once"), RunDirectory.open(config, ""):
        raise ValueError("failed at once")
    other = changed(config, seed=7)
    anew = opened(other)
    assert anew.status == "new"
    assert yaml.safe_load((anew.path / "resolved.yaml").read_text())["seed"] == 7
    anew.metrics.write_text("step,loss\n3,1.0\n")
    with pytest.raises(ValueError, match="later"), RunDirectory.open(other, ""):
        raise ValueError("failed later")
    with pytest.raises(ConfigError, match="has another config"):
        opened(config)


def test_a_preview_leaves_a_run_alone_and_prepares_a_new_one(config):
    path = opened(config).path
    write_resolved(path, {"seed": 9})
    assert yaml.safe_load((path / "resolved.yaml").read_text())["seed"] == 0
    write_resolved(path.parent / "second", {"seed": 9})
    assert opened(dataclasses.replace(config, name="second")).status == "new"


def test_a_read_only_place(config, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError) as error:
        opened(config)
    assert str(error.value) == (
        f"the run directory {config.paths.runs}/first can't be written: the file system is read-only.\n"
        "  write elsewhere:  paths.runs=FOLDER"
    )


@pytest.mark.parametrize("how", ["removed", "moved", "removed and begun by another"])
def test_a_run_whose_directory_went_away_is_not_called_finished(config, tmp_path, how):
    directory = RunDirectory.open(config, "")
    directory.refuse_removed()
    directory.path.rename(tmp_path / "elsewhere")
    if how != "moved":
        shutil.rmtree(tmp_path / "elsewhere")
    directory.checkpoints.mkdir(parents=True)  # the next checkpoint makes the folder anew
    if "another" in how:
        (directory.path / ".lock").write_text(json.dumps({"host": "another", "pid": 1}))
    with pytest.raises(CheckpointError, match="removed or moved while its run was at work"):
        directory.refuse_removed()
    directory.close()


def test_two_at_once(config):
    with RunDirectory.open(config, ""):
        lock = Path(config.paths.runs, "first", ".lock")
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "pid": 1, "started": None}))
        with pytest.raises(ConfigError, match="is in use by process 1 on"):
            opened(config)


def test_a_name_is_no_longer_than_a_folders_may_be() -> None:
    config = Config(name="é" * 100)
    assert run_name(config) == "é" * 100
    with pytest.raises(ConfigError, match=r"name=é+\.\.\. is 202 bytes long\.\n  allowed: 200"):
        run_name(dataclasses.replace(config, name="é" * 101))
    assert run_name(dataclasses.replace(config, name="/".join(["a" * 200] * 2)))
