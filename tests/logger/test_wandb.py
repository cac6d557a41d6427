import csv
import dataclasses
import json
import logging
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.train import quick_training as fake
from tests.train.quick_training import Config, Paths
from vxl.errors import ConfigError
from vxl.logger import wandb as logger
from vxl.logger.csv import CsvConfig
from vxl.logger.wandb import WandbConfig, logged_in, run_id
from vxl.option.build import build


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A machine where nobody is logged in to W&B."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_the_id_is_made_once_and_kept(tmp_path):
    first = run_id(tmp_path, "compression-1f/ratio=4")
    assert first.startswith("compression-1f-ratio-4-")
    assert run_id(tmp_path, "another") == first
    assert (tmp_path / "wandb_id.txt").read_text() == first + "\n"


def test_logged_in_by_netrc_or_key(nobody, monkeypatch):
    assert not logged_in()
    nobody.write_text("machine api.wandb.ai\n  login user\n  password 1\n")
    nobody.chmod(0o600)
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.lab.example:8443")
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "1")
    assert logged_in()


def test_without_wandb_the_message_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError) as error:
        build(WandbConfig(), directory=tmp_path, name="x")
    assert str(error.value) == (
        "logger=wandb needs wandb, which is not installed.\n"
        "  without it:  logger=csv\n  install it:  pip install wandb"
    )


def test_csv_needs_no_wandb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    result = fake.train(Config(paths=Paths(runs=str(tmp_path)), logger=CsvConfig(), name="a"))
    with (tmp_path / "a" / "metrics.csv").open() as lines:
        assert len(list(csv.DictReader(lines))) == 10  # six steps, and validations at 0, 2, 4, 6
    assert result.steps == 6


class Run:
    """Stands for wandb's run object."""

    def __init__(self, **settings):
        self.settings, self.logged, self.exit_code, self.summary = settings, [], None, {}
        self.saved = []
        files = settings["dir"] / "files of wandb"
        files.mkdir(exist_ok=True)
        self.dir = str(files)

    def define_metric(self, name, summary=None, step_metric=None):
        self.settings.setdefault("defined", {})[name] = (summary, step_metric)

    def log(self, numbers, step):
        self.logged.append((step, numbers))

    def save(self, file, base_path, policy):
        assert Path(base_path) == Path(self.dir)  # W&B links files from elsewhere, and warns
        self.saved.append(Path(file).relative_to(base_path).name)

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def runs(monkeypatch, nobody):
    """wandb with its `init` replaced: the runs that were begun."""
    import wandb

    begun = []

    def init(**settings):
        begun.append(Run(**settings))
        return begun[-1]

    monkeypatch.setattr(wandb, "init", init)
    return begun


def test_members_of_a_sweep_share_a_group_and_resumes_an_id(tmp_path, runs):
    base = Config(paths=Paths(runs=str(tmp_path)), logger=WandbConfig(tags=["t"]), sweep_name="lr-1")
    first = dataclasses.replace(base, sweep_member="lr=1")
    fake.train(first)
    fake.train(dataclasses.replace(base, sweep_member="lr=2", seed=1))
    fake.train(dataclasses.replace(first, trainer=dataclasses.replace(first.trainer, max_steps=8)))
    settings = [run.settings for run in runs]
    assert {s["group"] for s in settings} == {"lr-1"}
    assert [s["name"] for s in settings] == ["lr-1/lr=1", "lr-1/lr=2", "lr-1/lr=1"]
    assert settings[0]["id"] == settings[2]["id"] != settings[1]["id"]
    assert {(s["resume"], s["job_type"], s["mode"]) for s in settings} == {("allow", "train", "offline")}
    assert settings[0]["config"]["optim"]["lr"] == 0.02
    assert settings[0]["tags"][:2] == ["t", "lr-1"]
    assert "logger" not in settings[0]["config"]
    assert settings[0]["defined"]["val/loss"] == ("min,last", "trainer/global_step")
    assert {numbers["trainer/global_step"] == step for step, numbers in runs[0].logged} == {True}
    assert runs[0].summary["status"] == "finished"
    assert runs[0].saved == ["resolved.yaml", "provenance.json", "train.log"]
    kept = Path(runs[0].dir) / "provenance.json"
    assert not kept.is_symlink()
    assert kept.stat().st_mode & 0o077 == 0
    assert runs[0].summary["final/steps"] == 6
    losses = [numbers["loss"] for _, numbers in runs[0].logged if "loss" in numbers]
    assert runs[0].summary["final/loss_last"] == losses[-1]
    assert [run.exit_code for run in runs] == [0, 0, 0]
    assert [step for step, numbers in runs[0].logged if "loss" in numbers] == [1, 2, 3, 4, 5, 6]
    assert [step for step, numbers in runs[2].logged if "loss" in numbers] == [7, 8]


def test_it_is_finished_when_training_fails(tmp_path, runs):
    config = Config(paths=Paths(runs=str(tmp_path)), logger=WandbConfig(), name="a")
    with pytest.raises(Exception, match="loss is nan"):
        fake.train(config, poison=1)
    assert [run.exit_code for run in runs] == [1]


def test_a_run_goes_on_when_wandb_itself_dies(tmp_path, runs, monkeypatch, caplog):
    def gone(self, *arguments, **keywords):
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr(Run, "log", gone)
    monkeypatch.setattr(Run, "finish", gone)
    result = fake.train(Config(paths=Paths(runs=str(tmp_path)), logger=WandbConfig(), name="a"))
    assert result.steps == 6
    assert caplog.text.count("W&B has stopped (Connection lost)") == 1
    assert f"wandb sync {tmp_path}/a/wandb/" in caplog.text


@pytest.mark.parametrize(
    ("mode", "variable", "expected"),
    [("auto", None, "offline"), ("online", None, "online"), ("online", "disabled", "disabled")],
)
def test_modes(tmp_path, runs, monkeypatch, mode, variable, expected):
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    build(WandbConfig(mode=mode), directory=tmp_path, name="x")
    assert runs[0].settings["mode"] == expected


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_itself")
def test_offline_for_real_two_runs_in_one_process_are_two(tmp_path, nobody):
    for name in ("a", "b"):
        fake.train(Config(paths=Paths(runs=str(tmp_path)), logger=WandbConfig(), name=name))
    files = [next(Path(tmp_path, name).glob("wandb/offline-run-*/run-*.wandb")) for name in ("a", "b")]
    ids = [(tmp_path / name / "wandb_id.txt").read_text().strip() for name in ("a", "b")]
    assert [file.name for file in files] == [f"run-{name}.wandb" for name in ids]
    assert all(file.stat().st_size > 1000 for file in files)
    assert "WANDB_RUN_ID" not in os.environ


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_itself")
@pytest.mark.parametrize(
    ("key", "said"), [("wrong", "API key must have"), ("0123456789" * 4, "127.0.0.1")], ids=["key", "network"]
)
def test_without_its_server_or_with_a_wrong_key_a_run_goes_on_offline(
    tmp_path, monkeypatch, caplog, key, said
):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setattr(logger, "PATIENCE", 3)
    with caplog.at_level(logging.INFO):
        sink = logger.Wandb(logger.WandbConfig(), directory=tmp_path, name="first")
        sink.log({"loss": 1.0}, 1)
        sink.finish(0)
    assert "going on offline" in caplog.text
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in caplog.text
    (offline,) = tmp_path.glob("wandb/offline-run-*")
    assert list(offline.glob("*.wandb"))


class Server(BaseHTTPRequestHandler):
    """W&B's server, as far as the start of a run asks it."""

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        project = {"id": "1", "name": "vxl", "entity": {"id": "1", "name": "me"}}
        bucket = {"id": "1", "name": "first", "displayName": "first", "project": project}
        bucket |= {"description": None, "config": None, "sweepName": None, "historyLineCount": 0}
        answers = {
            b"upsertBucket": {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}},
            b"createRunFiles": {"errors": [{"message": "not here"}]},
        }
        found = next((answer for word, answer in answers.items() if word in asked), {"data": {}})
        answer = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format, *arguments):
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_itself")
def test_a_server_that_goes_away_while_a_run_trains_does_not_keep_it_from_ending(
    tmp_path, monkeypatch, caplog
):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr(logger, "PATIENCE", 2)
    sink = logger.Wandb(logger.WandbConfig(), directory=tmp_path, name="first")
    assert "offline" not in caplog.text
    server.shutdown()
    server.server_close()
    sink.log({"loss": 1.0}, 1)
    began = time.monotonic()
    sink.finish(0)
    assert time.monotonic() - began < 30
    assert f"no answer any more); to send the rest:  wandb sync {tmp_path}/wandb/*run-*" in caplog.text
    assert list(tmp_path.glob("wandb/run-*/*.wandb"))


@pytest.mark.parametrize(("size", "tags"), [("tiny", {"size=tiny"}), ("published", set())])
def test_a_size_is_a_tag_where_it_is_not_the_models_own(size, tags):
    found = logger.tags_of([], None, {"model": "videoxl2", "size": size})
    assert {tag for tag in found if tag.startswith("size=")} == tags
