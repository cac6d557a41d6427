"""`vxl import`, `vxl export` and `vxl ask weights=…`, as typed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.forked import ROOT, typed
from tests.acceptance.scripts import with_clips
from tests.checkpoint.published.folders import config_json, files, publish, weights
from tests.run_directories import CLIP, TEXTS, make_run
from vxl.cli.main import main
from vxl.data.batch.tokenizer import save_tokenizer, train_tokenizer


def run(*words: str) -> int:
    """The exit status of a command."""
    try:
        main(words)
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


def with_tokenizer(source: Path) -> Path:
    save_tokenizer(train_tokenizer(TEXTS, 300), source / "t")
    for file in (source / "t").iterdir():
        file.rename(source / file.name)
    (source / "t").rmdir()
    return source


def test_import_export_and_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "Tiny-XL", shards=2, ending="bin")
    assert run("import", "Tiny-XL") == 0
    said = capsys.readouterr().out
    assert "Tiny-XL-vxl: Video-XL-2, 836,896 parameters in 119 tensors; 2 unused ones kept aside" in said
    assert "came without a tokenizer" in said
    assert run("export", "Tiny-XL-vxl", "back", "--layout", "published") == 0
    assert list(files(tmp_path / "back")) == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert run("export", "Tiny-XL", "again", "--layout", "vxl") == 0
    assert files(tmp_path / "again").keys() == files(tmp_path / "Tiny-XL-vxl").keys()
    make_run(tmp_path / "runs", "made")
    assert run("export", "made", "trained", "layout=vxl", "checkpoint=10") == 0
    assert (tmp_path / "trained" / "tokenizer" / "tokenizer.json").exists()


def test_mistakes_are_one_message_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "in")
    for words, message in {
        ("import", "nowhere"): "checkpoint error: nowhere: no such folder",
        ("import", "in", "a", "b"): "vxl import takes PATH and OUT, got 3 words",
        ("import", "in", "out", "vision.head=3"): "did you mean vision.heads",
        ("import", "in", "out", "--part", "compressor"): "in: no such file",
        ("export", "in"): "vxl export takes PATH and OUT, got 1 words",
        ("export", "in", "out", "layout=other"): "allowed: published, transformers, vxl",
        ("export", "in", "out", "depth=3"): "depth=3 is not a setting of `vxl export`",
        ("export", "nowhere", "out"): "there is no run 'nowhere'",
        ("export", "in", "in"): "in exists; nothing was written",
    }.items():
        assert run(*words) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


# Each of the four ways, of two models; both folders, of each model.
@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("video_xl_2", [("in", "weights"), ("vxl", "run")]),
        ("video_xl_pro", [("in", "run"), ("vxl", "weights")]),
        ("video_xl_pro_march", [("in", "weights"), ("vxl", "run")]),
        ("video_xl", [("in", "run"), ("vxl", "weights")]),
    ],
)
def test_ask_takes_either_kind_of_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, ways: list[tuple[str, str]]
) -> None:
    with_tokenizer(publish(tmp_path / "in", weights(name), config=config_json(name)))
    assert run("import", str(tmp_path / "in"), str(tmp_path / "vxl")) == 0
    model = name.replace("video_xl", "videoxl").replace("l_2", "l2")
    capsys.readouterr()
    answers = []
    for place, key in ways:
        words = [f"{key}={tmp_path / place}", *([f"model={model}"] if key == "weights" else [])]
        settings = ["video.max_frames=8", "max_new_tokens=3"]
        assert run("ask", *words, str(CLIP), "What is shown?", *settings) == 0
        said = capsys.readouterr()
        answers.append(said.out)
        assert f"{place}, {model}, on " in said.err
        assert "8 frames" in said.err
    assert len(set(answers)) == 1


def test_ask_names_the_model_that_a_folder_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = with_tokenizer(publish(tmp_path / "in"))
    words = ("ask", f"weights={source}", str(CLIP), "What?")
    assert run(*words, "model=videoxl_pro") == 2
    assert "holds videoxl2, not videoxl_pro.\n  type  model=videoxl2" in capsys.readouterr().err
    assert run(*words, "size=tiny") == 2
    assert "size= makes a new model" in capsys.readouterr().err
    assert run(*words, "video.max_frame=3") == 2
    assert "did you mean video.max_frames" in capsys.readouterr().err
    assert run("ask", str(CLIP), "What?") == 2
    assert "weights=FOLDER" in capsys.readouterr().err


@pytest.mark.slow
def test_loading_a_folder_needs_neither_hydra_nor_lightning_nor_wandb(tmp_path: Path) -> None:
    source = with_tokenizer(publish(tmp_path / "in", shards=2))
    code = f"""
import sys
for name in ("hydra", "omegaconf", "lightning", "pytorch_lightning", "wandb", "torchvision"):
    sys.modules[name] = None
import vxl
from vxl.checkpoint.convert import export_weights, import_weights
from pathlib import Path
import_weights(Path({str(source)!r}), Path({str(tmp_path / "vxl")!r}))
export_weights({str(tmp_path / "vxl")!r}, Path({str(tmp_path / "back")!r}))
for place in ("in", "vxl", "vxl/resolved.yaml", "back"):
    loaded = vxl.load(Path({str(tmp_path)!r}) / place, device="cpu", overrides=["video.max_frames=4"])
    print(loaded.ask(loaded.watch({str(CLIP)!r}), "What?", max_new_tokens=1).tokens)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert len(set(done.stdout.splitlines())) == 1


@pytest.mark.slow
def test_training_starts_from_published_weights(tmp_path: Path) -> None:
    import json

    source = with_tokenizer(publish(tmp_path / "in"))
    sizes = "vision.width=64 vision.mlp=128 vision.heads=4 vision.layers=2 compressor.grid=24 llm.vocab=512 "
    sizes += "llm.width=96 llm.mlp=192 llm.layers=3"
    choices = "vision=siglip_so400m vision.weights=random compressor=dts_published logger=csv name=tuned"
    limits = "trainer.max_steps=1 trainer.accumulate=1 data.batch=1 data.held_out=4 video.max_frames=4"
    cache = with_clips(tmp_path) / ".cache" / "vxl"
    paths = [f"weights={source}", f"paths.runs={tmp_path / 'runs'}", f"paths.cache={cache}"]
    status, said = typed("train.py", *f"{choices} {sizes} {limits}".split(), *paths, cwd=ROOT)
    assert status == 0, said
    run_folder = tmp_path / "runs" / "tuned"
    assert (run_folder / "tokenizer" / "tokenizer.json").exists()
    assert json.loads((run_folder / "RESULT.json").read_text())["steps"] == 1
    main(["export", str(run_folder), str(tmp_path / "back")])
    there, back = files(source), files(tmp_path / "back")
    assert back["model.safetensors"].keys() == there["model.safetensors"].keys()
