"""No file that vxl reads executes what a stranger put into it, whichever command reads it."""

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from torch import nn

import vxl
from tests.checkpoint.published.folders import config_json, publish, weights
from tests.run_directories import CLIP, make_run
from vxl.checkpoint.convert import export_weights, import_weights
from vxl.checkpoint.resolved import read_config
from vxl.checkpoint.resume import newest_to_resume
from vxl.checkpoint.source import find_source, find_weights
from vxl.cli.main import main
from vxl.cli.runs import show_runs
from vxl.config.compose import compose
from vxl.data.source.headers import _describe_image
from vxl.errors import VxlError
from vxl.evaluate.subjects import load_subject, subjects
from vxl.model import build_model
from vxl.run.find import list_runs
from vxl.terminal.screen import Screen
from vxl.train.warm import warm_start
from vxl.video.image import read_rgb


class Payload:
    """A pickle that makes a folder when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("sent"), "stranger", steps=(10,))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What exists once a payload was executed."""
    return tmp_path / "PWNED"


@pytest.fixture
def run(stranger: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stranger, tmp_path / "runs" / "stranger"))


def raw(payload: Payload) -> bytes:
    return pickle.dumps(payload)


def in_a_zip(payload: Payload) -> bytes:
    """As torch.save lays it out."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"x": payload}))
        archive.writestr("archive/version", "3\n")
    return made.getvalue()


def with_a_true_index(payload: Payload, before: bytes) -> bytes:
    """The true index, behind the payload: everything works, and the payload has run."""

    class Both:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return second, (payload, pickle.loads(before))

    return pickle.dumps(Both())


def second(first: object, other: object) -> object:
    return other


COMMANDS: dict[str, Callable[[Path], object]] = {
    "load": lambda run: vxl.load(run, device="cpu"),
    "export": lambda run: export_weights(str(run), run.parent / "out", published=False),
    "ask": lambda run: main(["ask", f"run={run}", str(CLIP), "What is shown?", "max_new_tokens=1"]),
    "evaluate": lambda run: evaluate(run),
    "init_from": lambda run: warm_start(str(run), nn.Linear(2, 2), run.parent),
    "weights": lambda run: find_weights(str(run), run.parent).fill(nn.Linear(2, 2)),
    "resume": lambda run: newest_to_resume(run / "checkpoints"),
    "runs": lambda run: show_runs(run.parent, {}, None, [], Console(file=io.StringIO())),
}


def evaluate(run: Path) -> None:
    config = compose("evaluate", [f"run={run}", "benchmark=clips", "device=cpu"])
    load_subject(subjects(config)[0], config)


def carefully(call: Callable[[Path], object], place: Path) -> str:
    """Runs a command; gives the message of a refusal."""
    try:
        call(place)
    except VxlError as error:
        return str(error)
    except SystemExit:
        return "exit"
    return ""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "file",
    [".metadata", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rest.pt", "__0_0.distcp"))],
)
def test_a_checkpoint(run: Path, mark: Path, file: str, command: str) -> None:
    path = run / "checkpoints/step-000010" / file
    if file == ".metadata":
        path.write_bytes(with_a_true_index(Payload(mark), path.read_bytes()))
    elif file == "rest.pt":
        path.write_bytes(raw(Payload(mark)))
    else:
        path.write_bytes(in_a_zip(Payload(mark)) + bytes(path.stat().st_size))
    refusal = carefully(COMMANDS[command], run)
    assert not mark.exists()
    if file == ".metadata" and command not in ("runs", "ask"):
        assert "second, which the index of a checkpoint never does" in refusal


def test_an_entry_that_torch_would_unpickle_is_refused(run: Path) -> None:
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    path = run / "checkpoints/step-000010/.metadata"
    index = pickle.loads(path.read_bytes())
    index.state_dict_metadata[next(iter(index.state_dict_metadata))] = BytesStorageMetadata()
    path.write_bytes(pickle.dumps(index))
    assert "is no tensor" in carefully(COMMANDS["weights"], run) or "never does" in carefully(
        COMMANDS["weights"], run
    )


def test_an_index_that_names_files_outside_the_folder_is_refused(run: Path) -> None:
    path = run / "checkpoints/step-000010/.metadata"
    path.write_bytes(path.read_bytes().replace(b"__0_0.distcp", b"../../../abc"))
    assert "outside the folder" in carefully(COMMANDS["weights"], run)


@pytest.mark.parametrize("command", ["load", "ask", "export", "evaluate", "runs"])
@pytest.mark.parametrize("how", ["tag", pytest.param("plugins", marks=pytest.mark.slow), "target", "program"])
def test_a_config(
    run: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, command: str
) -> None:
    package = tmp_path / "payload"
    package.mkdir()
    (package / "__init__.py").write_text(f"import os; os.mkdir({str(mark)!r})")
    monkeypatch.syspath_prepend(tmp_path)
    file = run / "resolved.yaml"
    values = yaml.safe_load(file.read_text())
    if how == "tag":
        file.write_text(f"x: !!python/object/apply:os.mkdir ['{mark}']\n" + file.read_text())
    elif how == "plugins":
        file.write_text(yaml.safe_dump(values | {"plugins": ["payload"]}))
    else:
        target = "payload.Part" if how == "target" else "vxl.cli.__main__.Part"
        file.write_text(yaml.safe_dump(values | {"kv": {"_target_": target}}))
    refusal = carefully(COMMANDS[command], run)
    assert not mark.exists()
    if command == "load" and how == "target":
        assert "_target_=payload.Part is not allowed" in refusal
        assert "plugins=[payload]" in refusal


def test_plugins_that_the_command_names_are_imported(
    run: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "named_lab"
    (package / "conf/kv").mkdir(parents=True)
    (package / "__init__.py").write_text(f"import os; os.mkdir({str(mark)!r})")
    (package / "conf/kv/own.yaml").write_text("_target_: vxl.kv.policy.Full\n")
    monkeypatch.syspath_prepend(tmp_path)
    values = read_config(run / "resolved.yaml", ["kv=own", "plugins=[named_lab]"])
    assert mark.exists()
    assert (values["kv"], values["plugins"]) == ({"_target_": "vxl.kv.policy.Full"}, ["named_lab"])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "dts.pth", "raw.pth"])
def test_weights_that_are_pickles(mark: Path, tmp_path: Path, name: str) -> None:
    folder = publish(tmp_path / "in", ending="bin")
    file = folder / name
    file.write_bytes((raw if name == "raw.pth" else in_a_zip)(Payload(mark)))
    place = folder if name == "pytorch_model.bin" else file
    assert "could execute code" in carefully(lambda place: import_weights(place, tmp_path / "out"), place)
    assert carefully(lambda place: warm_start(str(place), nn.Linear(2, 2), tmp_path), place)
    assert not mark.exists()


def test_published_json_can_not_write_elsewhere(tmp_path: Path) -> None:
    import json

    import_weights(publish(tmp_path / "in"), tmp_path / "vxl")
    file = tmp_path / "vxl/published.json"
    record = json.loads(file.read_text())
    for name in ("../ESCAPED.safetensors", "/tmp/x.safetensors", ".bashrc", ".."):
        file.write_text(json.dumps(record | {"files": {name: next(iter(record["files"].values()))}}))
        refusal = carefully(lambda place: export_weights(str(place), tmp_path / "out"), tmp_path / "vxl")
        assert repr(name) in refusal
    assert not (tmp_path / "ESCAPED.safetensors").exists()
    for broken in (record | {"files": ["a"]}, record | {"family": "x"}, {"x": 1}):
        file.write_text(json.dumps(broken))
        refusal = carefully(lambda place: export_weights(str(place), tmp_path / "out"), tmp_path / "vxl")
        assert "import it again" in refusal


@pytest.mark.parametrize("name", ["published/generation_config.json", "tokenizer/added_tokens.json"])
def test_links_that_lead_outside_are_not_copied(tmp_path: Path, name: str) -> None:
    (tmp_path / "id_rsa").write_text("secret")
    import_weights(publish(tmp_path / "in"), tmp_path / "vxl")
    (tmp_path / "vxl/tokenizer").mkdir(exist_ok=True)
    (tmp_path / "vxl/tokenizer/tokenizer.json").write_text("{}")
    (tmp_path / "vxl" / name).unlink(missing_ok=True)
    (tmp_path / "vxl" / name).symlink_to(tmp_path / "id_rsa")
    refusal = carefully(lambda place: export_weights(str(place), tmp_path / "out"), tmp_path / "vxl")
    assert "leads out of its folder" in refusal
    assert not (tmp_path / "out").exists()


def test_a_hub_cache_is_made_of_links_and_read(tmp_path: Path) -> None:
    snapshot = publish(tmp_path / "models--x/snapshots/abc", weights("video_xl_2"), config=config_json())
    blobs = tmp_path / "models--x/blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    import_weights(snapshot, tmp_path / "vxl")
    assert (tmp_path / "vxl/published/generation_config.json").read_text() == '{"repetition_penalty": 1.05}'


@pytest.mark.parametrize("text", ["[1, 2]", '{"weight_map": {"a": ["b"]}}', '{"weight_map": {"a": "../b"}}'])
def test_a_hostile_index_of_shards(tmp_path: Path, text: str) -> None:
    folder = publish(tmp_path / "in", shards=2)
    (folder / "model.safetensors.index.json").write_text(text)
    assert str(folder) in carefully(lambda place: import_weights(place, tmp_path / "out"), folder)


def test_no_escape_sequences_reach_the_terminal(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vxl.cli import ask

    (run / "FAILED.json").write_text('{"error": "\\u001b[2Jgone \\u202e"}')
    shown = io.StringIO()
    show_runs(run.parent, {}, None, [], Screen(file=shown, width=200))
    ask.write(0, "answer \x1b]52;c;x\x07")
    with pytest.raises(SystemExit):
        main(["ask", "run=\x1b[2J", str(CLIP), "What?"])
    captured = capsys.readouterr()
    for text in (shown.getvalue(), captured.out, captured.err):
        assert text
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\u202e" not in text


def test_the_list_of_runs_survives_one_hostile_run(run: Path, stranger: Path) -> None:
    shutil.copytree(stranger, run.parent / "other")
    (run / "resolved.yaml").write_text("a: &a [*a, !!python/name:os.system ]")
    (run / ".lock").write_text("[" * 100_000)
    assert {found.name for found in list_runs(run.parent)} == {"stranger", "other"}
    show_runs(run.parent, {}, None, [], Console(file=io.StringIO()))


def test_a_true_model_still_loads(run: Path) -> None:
    source = find_source(run, run.parent)
    model = build_model(compose("train", ["model=tiny", "video.max_frames=16", "compressor.ratio=16"]))
    source.fill(model)
    assert torch.isfinite(next(model.parameters())).all()


def test_an_image_that_is_postscript_starts_no_program(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\nmkdir {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    image = tmp_path / "x.jpg"
    image.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n")
    assert "can't be read as an image" in carefully(read_rgb, image)
    assert "is no image" in carefully(lambda place: _describe_image(place.read_bytes(), "x.jpg"), image)
    assert not mark.exists()


def test_no_data_is_fetched_because_a_config_says_so(run: Path) -> None:
    shutil.rmtree(run / "tokenizer")
    values = yaml.safe_load((run / "resolved.yaml").read_text())
    values["data"] = {"_target_": "vxl.data.shards.Shards", "train": ["http://127.0.0.1:9/a.tar"]}
    (run / "resolved.yaml").write_text(yaml.safe_dump(values))
    assert "nothing is fetched" in carefully(COMMANDS["load"], run)
