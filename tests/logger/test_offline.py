import json
import socket
from pathlib import Path

import pytest
import wandb
from PIL import Image

from tests.logger.offline import records
from vxl.logger.wandb import Wandb, WandbConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("wandb_itself")]


def test_what_a_dashboard_gets_is_in_the_offline_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "checkpoints" / "step-000002"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "checkpoints" / "last").write_text("step-000002")
    Image.new("RGB", (8, 8)).save(tmp_path / "frames.jpg")
    settings = {
        "model": "small",
        "size": "tiny",
        "compressor": {"ratio": 16},
        "choices": {"kv": "full", "compressor": "dts"},
    }
    sink = Wandb(
        WandbConfig(tags=["mine"], notes="why", artifacts="last"),
        directory=tmp_path,
        name="s/ratio=16 clips",
        group="s",
        settings=settings,
        job_type="evaluate",
    )
    sink.log({"val/loss": 2.0}, 1)
    sink.log({"val/loss": 3.0}, 2)
    sink.facts({"final/seconds": 4.5, "status": "finished"})
    sink.show({"answers": [{"key": "q", "frames": tmp_path / "frames.jpg", "score": 1.0}]}, {})
    sink.checkpoint(tmp_path / "checkpoints", 2)
    sink.finish(0)
    wandb.teardown()  # only then is everything on disk for sure
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found = list(records(file))
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
    assert (run.run_group, run.job_type, run.display_name, run.notes) == (
        "s",
        "evaluate",
        "s/ratio=16 clips",
        "why",
    )
    host = f"host={socket.gethostname()}"
    assert set(run.tags) == {"mine", "s", "small", "size=tiny", "kv=full", "compressor=dts", host}
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["compressor"] == {"ratio": 16}
    assert config["choices"]["kv"] == "full"
    metrics = {record.metric.name or record.metric.glob_name: record.metric for record in found}
    assert metrics["val/loss"].summary.min
    assert metrics["val/accuracy"].summary.max
    axes = {name: metric.step_metric for name, metric in metrics.items() if name}
    assert set(axes) == {"trainer/global_step", "val/loss", "val/accuracy", "loss", "*"}
    assert axes.pop("trainer/global_step") == ""
    assert set(axes.values()) == {"trainer/global_step"}
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    assert [(row["trainer/global_step"], row["val/loss"]) for row in rows if "val/loss" in row] == [
        (1, 2.0),
        (2, 3.0),
    ]
    summary = {}
    for record in found:
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert summary["final/seconds"] == 4.5
    assert summary["status"] == "finished"
    tables = list(tmp_path.glob("wandb/offline-run-*/files/media/table/answers_*.table.json"))
    assert json.loads(tables[0].read_text())["columns"] == ["key", "frames", "score"]
    names = [record.request.log_artifact.artifact.name for record in found] + [r.artifact.name for r in found]
    assert any(name.endswith("-last") for name in names)
