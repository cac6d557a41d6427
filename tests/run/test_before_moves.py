"""What was written before classes moved is found, resumed, asked and loaded: see vxl.option.moved."""

import shutil
from pathlib import Path

import pytest

import vxl
from vxl.config.compose import compose
from vxl.option.build import locate
from vxl.option.moved import MOVED, current, first
from vxl.run.changes import differences, identity
from vxl.run.find import find_run

FOLDER = Path("tests/run/before_moves")
ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples/clips/city.mp4"
ANSWER = (530, 310, 530, 310, 530, 310, 530, 310)
"""What the run said about `CLIP` then."""
COMMAND = [
    *("model=tiny", "llm.width=16", "llm.mlp=16", "llm.layers=2", "llm.heads=2", "llm.kv_heads=1"),
    *(
        "compressor=pool",
        "compressor.ratio=4",
        "logger=csv",
        "data=json",
        f"data.json={FOLDER}/questions.json",
    ),
    *("vision.width=16", "vision.heads=2", "vision.mlp=16", "vision.layers=1", "data.videos=examples/clips"),
    *("data.workers=0", "data.batch=2", "trainer.show=0", "trainer.val_every=1000", "kv=snapkv"),
    *("kv.at=chunks", "kv.keep=null", "kv.tokens=64", "kv.window=8", "kv.protect=none", "name=before"),
]
"""How the run was made, with `trainer.max_steps=2`; there was no `kv.protect`, and nothing was protected."""


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_moved_names_lead_to_classes_and_back() -> None:
    assert locate("vxl.train.strategy.FSDP2") is locate("vxl.train.parallel.strategy.FSDP2")
    assert locate("vxl.data.options.Json") is locate("vxl.data.json.Json")
    oldest = {now: before for before, now in MOVED.items()}  # where a class moved twice, the last one listed
    for before, now in MOVED.items():
        whole = "" if before[-1] != "." else "Name"
        assert current(before + whole) == now + whole
        assert first(now + whole) == oldest[now] + whole
        assert current(now + whole) == now + whole


def test_a_run_of_then_is_found_and_nothing_of_it_has_changed() -> None:
    run = find_run("before", FOLDER / "runs")
    assert run.status == "finished"
    assert run.step == 2
    config = compose("train", [*COMMAND, "trainer.max_steps=2"])
    assert [change.key for change in differences(run.config, config) if not change.resumable] == []
    assert identity(config)["data._target_"] == "vxl.data.options.Json"  # so the default name is that of then


@pytest.mark.parametrize("place", [FOLDER / "runs/before", FOLDER / "weights"])
def test_a_model_of_then_says_what_it_said(place: Path) -> None:
    loaded = vxl.load(place, device="cpu")
    context = loaded.watch(CLIP)
    assert loaded.ask(context, "What is it?", max_new_tokens=8).tokens == ANSWER


def test_a_context_of_then_is_asked() -> None:
    loaded = vxl.load(FOLDER / "runs/before", device="cpu")
    context = vxl.load_context(FOLDER / "context", loaded)
    assert loaded.ask(context, "What is it?", max_new_tokens=8).tokens == ANSWER


@pytest.mark.slow
def test_a_run_of_then_goes_on(tmp_path: Path) -> None:
    from vxl.train.run import train_or_resume

    shutil.copytree(FOLDER / "runs", tmp_path / "runs")
    command = [*COMMAND, "trainer.max_steps=4", f"paths.runs={tmp_path}/runs"]
    train_or_resume(compose("train", command), "")
    found = find_run("before", tmp_path / "runs")
    assert found.status == "finished"
    assert found.step == 4
