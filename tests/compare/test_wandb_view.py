"""`vxl wandb`: a saved view is created online and written as JSON offline; its panels name what is logged."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compare.sweeps import write_sweep
from tests.logger import standin
from vxl.cli.main import main

PATIENT = pytest.mark.timeout(120)


def logged_sweep(root: Path) -> Path:
    """A sweep whose runs are in W&B, with an offline folder each."""
    folder = write_sweep(root, "s", 3)
    for run in folder.iterdir():
        config = yaml.safe_load((run / "resolved.yaml").read_text())
        config |= {"sweep_name": "s", "logger": {"project": "mine", "entity": None}}
        (run / "resolved.yaml").write_text(yaml.safe_dump(config))
        (run / "wandb_id.txt").write_text(run.name.replace("=", "-").replace(",", "-"))
        (run / "wandb" / "offline-run-20260101_000000-x").mkdir(parents=True)
    return folder


def accessors(view: dict[str, Any]) -> set[str]:
    """Every number and setting that a panel shows."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, inside in value.items():
                if key in ("accessor", "xAxis", "yAxis", "groupBy") and isinstance(inside, str):
                    found.add(inside)
                walk(inside)
        elif isinstance(value, list):
            for inside in value:
                walk(inside)

    walk(view["spec"])
    return found


def test_offline_it_says_what_it_would_create_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = logged_sweep(tmp_path)
    main(["wandb", "s", f"paths.runs={tmp_path}"])
    printed = capsys.readouterr().out
    assert "offline: would create the view 'vxl s' of group s in your account/mine" in printed
    assert "clips: accuracy against cache_bytes" in printed
    assert "not sent yet: 3 starts" in printed
    assert f"find {tmp_path}/s -name 'offline-run-*'" in printed
    view = json.loads((folder / "wandb_view.json").read_text())
    shown = accessors(view)
    assert {"config:choices.value.kv", "config:kv.value.keep"} & shown
    assert {"summary:evaluate/clips/cache_bytes", "summary:evaluate/clips/accuracy"} <= shown
    assert json.dumps(view["spec"]).count('"s"') >= 1  # the filter on the group


@pytest.mark.parametrize("group", ["../elsewhere", "/tmp/elsewhere", ["s"], {"s": 1}, "a' or 'b"])
def test_a_config_of_a_stranger_does_not_say_where_the_view_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: Any
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "elsewhere").mkdir()
    folder = logged_sweep(tmp_path / "runs")
    for run in folder.iterdir():
        config = yaml.safe_load((run / "resolved.yaml").read_text())
        (run / "resolved.yaml").write_text(yaml.safe_dump(config | {"sweep_name": group}))
    main(["wandb", "s", f"paths.runs={tmp_path / 'runs'}"])
    assert [file.parent for file in tmp_path.rglob("wandb_view.json")] == [folder]


def test_runs_that_are_not_in_wandb_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path, "s", 2)
    with pytest.raises(SystemExit):
        main(["wandb", "s", f"paths.runs={tmp_path}"])
    assert "none of the runs is in W&B" in capsys.readouterr().err


def test_without_its_package_the_message_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_sweep(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(SystemExit):
        main(["wandb", "s", f"paths.runs={tmp_path}"])
    assert "pip install wandb-workspaces" in capsys.readouterr().err


@PATIENT
@pytest.mark.slow
@pytest.mark.usefixtures("wandb_itself")
def test_online_it_is_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_sweep(tmp_path)
    with standin.served() as server:
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        monkeypatch.setenv("WANDB_API_KEY", standin.KEY)
        main(["wandb", "s", f"paths.runs={tmp_path}"])
        (view,) = server.views
    assert view["displayName"] == "vxl s"
    assert (view["entityName"], view["projectName"]) == ("me", "mine")
    assert "evaluate/clips/cache_bytes" in view["spec"]
    assert "created the view 'vxl s'" in capsys.readouterr().out
