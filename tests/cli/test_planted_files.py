"""Every file that vxl reads, replaced in turn by each kind of file that could execute or mislead.

All files of a run, a context, folders of weights, shards with their caches, annotations and answers are
planted in turn, and the commands that read each are called. The payload makes a folder when it is unpickled,
built by YAML, or imported. Afterwards there is no such folder, and each command has worked or has ended with
an error of at most a screen.
"""

import io
import json
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

import vxl
from tests.checkpoint.published.folders import publish
from tests.compare import sweeps
from tests.data.media import image, talk, video
from tests.run_directories import CLIP, finish, make_run
from tests.train.quick_training import batch
from vxl.checkpoint.convert import import_weights
from vxl.checkpoint.load import load_context
from vxl.checkpoint.resume import newest_to_resume
from vxl.checkpoint.source import find_source, find_weights
from vxl.checkpoint.step_folder import StepFolder
from vxl.cli.main import main
from vxl.cli.watch import watch
from vxl.config.compose import compose
from vxl.errors import VxlError
from vxl.evaluate.benchmarks.egoschema import EgoSchema, EgoSchemaConfig
from vxl.evaluate.benchmarks.json import JsonList, JsonListConfig
from vxl.evaluate.rescore.score import check, score, show_scores
from vxl.evaluate.subjects import load_subject, subjects
from vxl.evaluate.work.answers import answer_files, read_answers, set_aside
from vxl.evaluate.work.judge import Judge, last_dict
from vxl.generate import save_context
from vxl.generate.loaded import LoadedModel
from vxl.lmms import answers as lmms
from vxl.relevance.file import read_selections
from vxl.run.code import Code
from vxl.run.metrics import MetricsFile
from vxl.run.provenance import read_sessions
from vxl.run.result import Result
from vxl.serve.contexts import Contexts
from vxl.terminal.screen import Screen
from vxl.train.step.diverged import read_batches, write_batches
from vxl.train.warm import warm_start
from vxl.video.frame_cache import frames_kept
from vxl.video.load import load_video
from vxl.video.sample import Uniform, UniformConfig
from vxl.video.transform import PixelSpec
from vxl.vision.weights import _shards

SCREEN = 20
"""Lines of the longest error."""
PLACE = "planted"
MODEL: list[LoadedModel] = []
"""The model of the field's run."""
CLASSES = ("_target_", "dataclass", "tokenizer_class", "plugins", "dtype", "model_type", "architectures")
"""Keys by which files name classes."""
AUTO = ("AutoTokenizer", "AutoConfig", "AutoModelForCausalLM")
PACKAGE = "planted_package"
"""Can be imported; whoever does executes it."""


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


# What a file is replaced by. Each gets the mark that the payload makes, and what the file held.


def pickled(mark: Path, before: bytes) -> bytes:
    return pickle.dumps(Payload(mark))


def zipped(mark: Path, before: bytes) -> bytes:
    """As torch.save lays it out."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"x": Payload(mark)}, 2))
        archive.writestr("archive/version", "3\n")
    return made.getvalue()


def objects(mark: Path, before: bytes) -> bytes:
    """NumPy's archive, whose array of objects is a pickle."""
    made = io.BytesIO()
    np.savez(made, allow_pickle=True, x=np.array([Payload(mark)], dtype=object))
    return made.getvalue()


def tagged(mark: Path, before: bytes) -> bytes:
    """YAML that builds what it names."""
    return f"_target_: os.mkdir\nx: !!python/object/apply:os.mkdir ['{mark}']\n".encode() + before


def nested(mark: Path, before: bytes) -> bytes:
    return b"[" * 100_000


def list_of_numbers(mark: Path, before: bytes) -> bytes:
    return b"[1, 1e400, -1]"


def huge_numbers(mark: Path, before: bytes) -> bytes:
    return b'{"a": 1' + b"0" * 5000 + b"}"


def naming(wanted: str, to: str) -> Callable[[Path, bytes], bytes]:
    """A form in which one kind of key names a class of a package, or of a module that is a program."""

    def form(mark: Path, before: bytes) -> bytes:
        return changed(
            before, lambda key, value: [to] if key == wanted == "plugins" else to if key == wanted else value
        )

    form.__name__ = f"{wanted}={to}"
    return form


def with_custom_code(mark: Path, before: bytes) -> bytes:
    return changed(before, lambda key, value: value, dict.fromkeys(AUTO, f"{PACKAGE}.Part"))


def elsewhere(mark: Path, before: bytes) -> bytes:
    """Every name of a file leads out of the folder."""
    return changed(
        before, lambda key, value: f"../../{value}" if isinstance(value, str) and "." in value else value
    )


def of_other_kinds(mark: Path, before: bytes) -> bytes:
    """Lists for numbers, numbers for texts, texts for lists."""
    kinds: dict[type, Any] = {str: 7, int: "x", float: ["x"], bool: "no", list: "a", type(None): {"a": 1}}
    return changed(before, lambda key, value: kinds[type(value)])


def without_keys(mark: Path, before: bytes) -> bytes:
    found = parsed(before)
    return b"{}" if isinstance(found, dict) else b"[{}]" if isinstance(found, list) else b""


def of_a_shard(mark: Path, before: bytes) -> bytes:
    """A tar with members that some loaders unpickle, and with names and links that lead out."""
    try:
        old = tarfile.open(fileobj=io.BytesIO(before))  # noqa: SIM115 -- closed below
    except tarfile.ReadError:
        return before
    made = io.BytesIO()
    with old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
            key = member.name.partition(".")[0]
            for ending, form in (("pyd", pickled), ("pkl", pickled), ("npz", objects), ("pth", zipped)):
                data = form(mark, b"")
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
        out = tarfile.TarInfo(f"../../{mark.name}/x.json")
        new.addfile(out, io.BytesIO())
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        new.addfile(link)
    return made.getvalue()


def of_safetensors(mark: Path, before: bytes) -> bytes:
    """Tensors whose names are paths that lead out, and code."""
    try:
        return save({f"../../{mark.name}/{name}": torch.zeros(2) for name in load(before)})
    except (SafetensorError, ValueError):
        return before


Forms = tuple[Callable[[Path, bytes], bytes], ...]
EXECUTING: Forms = (
    *(pickled, tagged, of_a_shard, with_custom_code),
    *(naming(key, to) for key in CLASSES for to in (f"{PACKAGE}.Part", "vxl.cli.__main__.Part")),
)
FORMS: Forms = (
    *EXECUTING,
    *(zipped, objects, elsewhere, of_safetensors),
    *(nested, list_of_numbers, huge_numbers, of_other_kinds, without_keys),
)


def parsed(before: bytes) -> Any:
    """The content of a JSON or YAML file; None for any other."""
    try:
        text = before.decode()
        return json.loads(text) if text[:1] in "{[" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        return None


def changed(
    before: bytes, change: Callable[[str, Any], Any], auto_map: dict[str, str] | None = None
) -> bytes:
    """A JSON or YAML file with other leaves; anything else as it is."""

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, dict) and value:
            kept = {k: walk(v, str(k)) for k, v in value.items() if k != "sha256"}  # a stranger can sign, too
            return kept | ({"auto_map": auto_map} if auto_map and key == "" else {})
        if isinstance(value, list) and value:
            return [walk(inner, key) for inner in value]
        return value if isinstance(value, dict) else change(key, value)

    found = parsed(before)
    if not isinstance(found, dict | list):
        lines = [parsed(line) for line in before.splitlines()]
        if not lines or not all(isinstance(line, dict) for line in lines):
            return before
        new = [walk(line, "") for line in lines]
        if isinstance(lines[0].get("lines"), list):  # an index: one that fits its tar is believed
            about = ("format", "bytes", "changed", "samples", "bad", "content", "cut_at")
            new[0] |= {name: lines[0][name] for name in about}
            new[0]["lines"] = [len(json.dumps(line)) + 1 for line in new[1:]]
        return b"".join(json.dumps(line).encode() + b"\n" for line in new)
    new = walk(found, "")
    return json.dumps(new).encode() if before[:1] in b"{[" else yaml.safe_dump(new, sort_keys=False).encode()


# The field.


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that vxl reads, small. Caches know it by its path, where a copy is put for each trial."""
    root = tmp_path_factory.mktemp("field") / PLACE
    make_the_run(root)
    MODEL[:] = [vxl.load(root / "runs/sent", device="cpu")]
    save_context(MODEL[0].watch(CLIP), root / "context/kept")
    (root / "weights").mkdir()
    publish(root / "weights/published", shards=2)
    publish(root / "weights/pickles", ending="bin")
    import_weights(root / "weights/published", root / "weights/vxl")
    make_the_data(root / "data")
    make_the_questions(root / "questions")
    make_what_is_kept(root / "kept")
    return root.rename(root.with_name("kept"))


def make_the_run(root: Path) -> None:
    run = make_run(root / "runs", "sent", steps=(10,))
    read = find_source(run, run.parent).weights().tensors
    tensors = {name: stored.read() for name, stored in read.items()}
    StepFolder.at(run / "checkpoints", 20).write({"model": tensors}, {"step": 20})
    shutil.rmtree(run / "checkpoints/step-000010")
    for name in ("last", "best"):
        (run / "checkpoints" / name).write_text("step-000020\n")
    (run / "config.yaml").write_text((run / "resolved.yaml").read_text())
    (run / "metrics.csv").write_text("step,loss\n10,2.0\n20,1.5\n")
    (run / "wandb_id.txt").write_text("sent-0123abcd\n")
    (run / "provenance.json").write_text(json.dumps({"sessions": [{"command": "python train.py"}]}))
    (run / "train.log").write_text("said\n")
    Code(None, None, {"vxl/x.py": "0"}).write(run / "code.json")
    write_batches(run / "diverged/step-000007", 0, [batch(0, 0, 2)], {"loss": 1.0})
    for change, share in (("", 0.9), ("kv=snapkv", 0.1)):  # two that answer unlike: a page shows where
        sweeps.evaluate(run, "clips", change, share, 4, seed=0, ratio=4)
    finish(run, seconds=1.0, samples=10)


def make_the_data(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.mp4").write_bytes(video())
    (folder / "p.jpg").write_bytes(image())
    items = [{"id": "a", "video": "a.mp4", **talk()}, {"id": "p", "image": "p.jpg", **talk()}]
    (folder / "list.json").write_text(json.dumps(items))
    (folder / "lines.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    main(["shards", "write", str(folder / "shards"), "--json", str(folder / "list.json"), *cache_of(folder)])
    main(["shards", "stats", str(folder / "list.json"), *cache_of(folder)])


def make_the_questions(folder: Path) -> None:
    folder.mkdir()
    rows = [
        {"id": str(n), "video": f"v{n}.mp4", "question": "What?", "options": ["a", "b"], "answer": "A"}
        for n in range(2)
    ]
    (folder / "list.json").write_text(json.dumps(rows))
    (folder / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "table.parquet")
    questions = [{"q_uid": "u", "question": "What?", **{f"option {n}": f"{n}" for n in range(5)}}]
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "subset_answers.json").write_text('{"u": 1}')
    answers = [{"key": str(n), "text": "A", "gold": "A", "cluster": "v"} for n in range(2)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (folder / "answers.json").write_text(json.dumps({"0": "A", "1": "B"}))
    (folder / "answers.csv").write_text("index,prediction,answer\n0,A,A\n1,B,A\n")
    (folder / "selected.json").write_text(
        '{"v_What?": [1, 2], "w": {"selected_unit_indices": {"v_Who?": [0]}}}'
    )


def make_what_is_kept(folder: Path) -> None:
    folder.mkdir()
    frames(folder)
    row = {"key": "a", "text": "A", "input_tokens": 1, "output_tokens": 1}
    (folder / "model-0.jsonl").write_text(json.dumps(row) + "\n")
    reply = "{'pred': 'yes', 'score': 3}"
    (folder / "judge.jsonl").write_text(json.dumps({"prompt": "p", "model": "m", "reply": reply}) + "\n")


def cache_of(folder: Path) -> list[str]:
    return ["--cache", str(folder / "cache")]


# The commands, by the part of the field that they read: each is called with that part's folder.


def ask(runs: Path) -> None:
    main(["ask", f"run={runs / 'sent'}", str(CLIP), "What is shown?", "max_new_tokens=1"])


def evaluate(runs: Path) -> None:
    config = compose("evaluate", [f"run={runs / 'sent'}", "benchmark=clips", "device=cpu"])
    load_subject(subjects(config)[0], config)


def go_on_evaluating(runs: Path) -> None:
    folder = runs / "sent/evaluate/clips"
    for file in answer_files(folder):
        header = file.read_text(errors="replace").partition("\n")[0]
        found = parsed(header.encode())
        read_answers(folder, str(found.get("fingerprint")) if isinstance(found, dict) else "x")
    set_aside(folder, "another")


def resume(runs: Path) -> None:
    run = runs / "sent"
    read_sessions(run)
    newest = newest_to_resume(run / "checkpoints")
    assert newest is not None
    MetricsFile(run / "metrics.csv").cut(newest.step)
    newest.read_rest()
    newest.read_into({"model": {}})


def context(folder: Path) -> None:
    load_context(folder / "kept", MODEL[0])


def served(folder: Path) -> None:
    """What `vxl serve` does with what it kept; it forgets what is damaged."""
    contexts = Contexts(folder, 0, 1 << 40)
    contexts.find("kept", MODEL[0])
    contexts.close()


def frames(folder: Path) -> None:
    with frames_kept("frames", folder, 1.0):
        load_video(CLIP, Uniform(UniformConfig(max_frames=4)), PixelSpec(16, (0.5,) * 3, (0.5,) * 3))


def judged(folder: Path) -> None:
    for reply in Judge("http://127.0.0.1:9/v1", "m", folder / "judge.jsonl").kept.values():
        last_dict(reply)


def towers(folder: Path) -> None:
    for name in ("published", "pickles"):
        for read in _shards(str(folder / name), "vision.weights").values():
            read()


def shards(folder: Path) -> Iterator[list[str]]:
    tar, items = str(folder / "shards/shard-000000.tar"), str(folder / "list.json")
    yield ["shards", "stats", tar]
    yield ["shards", "lint", tar]
    yield ["shards", "index", "--again", tar]
    yield ["shards", "stats", items]
    yield ["shards", "lint", "--decode", items]
    yield ["shards", "stats", str(folder / "lines.jsonl")]


def annotations(name: str) -> Callable[[Path], object]:
    """What `vxl benchmark check` does once it has composed its config."""
    screen = Screen(file=io.StringIO())
    if name == "egoschema":
        return lambda folder: check(
            EgoSchema(EgoSchemaConfig(annotations=str(folder)), data={}, cache=folder), screen
        )
    return lambda folder: check(own_list(folder, name), screen)


def own_list(folder: Path, name: str) -> JsonList:
    return JsonList(JsonListConfig(json=str(folder / name)), data={}, cache=folder)


def answers(name: str) -> Callable[[Path], object]:
    """What `vxl benchmark score` does."""
    return lambda folder: show_scores(
        [score(folder / name, own_list(folder, "list.json"))], Screen(file=io.StringIO())
    )


def shard_command(number: int) -> Callable[[Path], object]:
    return lambda folder: main([*list(shards(folder))[number], *cache_of(folder)])


Commands = dict[str, list[Callable[[Path], object]]]
QUICK: Commands = {
    "runs": [
        lambda runs: vxl.load(runs / "sent", device="cpu"),
        lambda runs: main(["runs", f"paths.runs={runs}"]),
        lambda runs: Result.read(runs / "sent/RESULT.json"),
        lambda runs: Code.read(runs / "sent/code.json"),
        lambda runs: read_batches(runs / "sent/diverged/step-000007"),
        lambda runs: main(["runs", "sent", f"paths.runs={runs}"]),
        lambda runs: watch(runs, ["sent"], None, Screen(file=io.StringIO())),
        resume,
        go_on_evaluating,
    ],
    "context": [context, served],
    "kept": [frames, judged, lambda folder: lmms.AnswerFile(folder, "model", 0)],
    "weights": [
        lambda folder: import_weights(folder / "published", folder / "out"),
        lambda folder: import_weights(folder / "pickles", folder / "out2"),
        lambda folder: main(["export", str(folder / "vxl"), str(folder / "out3")]),
        towers,
    ],
    "data": [shard_command(number) for number in range(6)],
    "questions": [
        *(annotations(name) for name in ("list.json", "lines.jsonl", "table.parquet", "egoschema")),
        *(answers(name) for name in ("answers.jsonl", "answers.json", "answers.csv")),
        lambda folder: read_selections(folder / "selected.json"),
    ],
}
SLOW: Commands = {
    "runs": [
        ask,
        evaluate,
        lambda runs: main(["compare", "sent", f"paths.runs={runs}"]),
        lambda runs: main(["export", str(runs / "sent"), str(runs / "out"), "--layout", "vxl"]),
        lambda runs: main(["compare", "sent", f"paths.runs={runs}", f"html={runs / 'page.html'}"]),
        lambda runs: main(["wandb", "sent", f"paths.runs={runs}", f"json={runs / 'view.json'}"]),
        lambda runs: warm_start(str(runs / "sent"), nn.Linear(2, 2), runs),
        lambda runs: find_weights(str(runs / "sent"), runs).fill(nn.Linear(2, 2)),
    ],
    "weights": [
        lambda folder: vxl.load(folder / "vxl", device="cpu"),
        lambda folder: vxl.load(folder / "published", device="cpu"),
        lambda folder: warm_start(str(folder / "vxl"), nn.Linear(2, 2), folder),
    ],
}


def outcome(call: Callable[[Path], object], folder: Path, capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with how a command ended; None where it worked, or refused on one screen."""
    capsys.readouterr()
    try:
        call(folder)
    except VxlError as error:
        lines = str(error).count("\n") + 1
    except SystemExit as end:
        if end.code not in (0, 1, 2):
            return f"exit status {end.code}"
        lines = capsys.readouterr().err.count("\n")
    except Exception as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = "" if frame is None else f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        return f"{type(error).__name__}: {str(error)[:150]} ({place})"
    else:
        return None
    return None if lines <= SCREEN else f"{lines} lines"


NATIVE = (".distcp", ".safetensors", ".json", ".mp4")
"""Endings of files that a command may open without Python's knowing: all commands are called for them."""
OPENED: list[str] | None = None
"""Paths that Python opens, while somebody asks."""


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and OPENED is not None and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


sys.addaudithook(_note)


def opened_by(
    field: Path, place: Path, part: str, commands: list[Callable[[Path], object]]
) -> dict[Path, list[int]]:
    """The numbers of the commands that open each file; files that only other languages open are left out."""
    global OPENED
    found: dict[Path, list[int]] = {}
    for number, call in enumerate(commands):
        shutil.copytree(field / part, place / part, copy_function=os.link)
        OPENED = []
        try:
            call(place / part)
        except VxlError:
            pass  # a command that refuses what it has read has read it
        except SystemExit:
            pass
        paths, OPENED = [Path(path) for path in dict.fromkeys(OPENED)], None
        for path in paths:
            if path.is_relative_to(place / part):
                found.setdefault(path.relative_to(place / part), []).append(number)
        shutil.rmtree(place)
    return found


def plant_everywhere(
    field: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    commands: list[Callable[[Path], object]],
    forms: Forms,
) -> list[str]:
    """Plants each form in each file of a part of the field, and calls the commands; what went wrong."""
    mark = tmp_path / "MARK"
    package = tmp_path / "packages" / PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"import os; os.mkdir({str(mark)!r})")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # whoever is asked for custom code says yes
    monkeypatch.setattr("vxl.cli.main.main", lambda: os.mkdir(mark))  # what vxl.cli.__main__ calls
    wrong = []
    files = sorted(path.relative_to(field / part) for path in (field / part).rglob("*") if path.is_file())
    root = field.with_name(PLACE)
    readers = opened_by(field, root, part, commands)
    for file in files:
        if file not in readers and file.suffix not in NATIVE:
            continue
        before = (field / part / file).read_bytes()
        planted = dict.fromkeys(new for form in forms if (new := form(mark, before)) != before)
        names = {new: form.__name__ for form in reversed(forms) if (new := form(mark, before)) in planted}
        for new in planted:
            shutil.copytree(field / part, root / part, copy_function=os.link)
            (root / part / file).unlink()
            (root / part / file).write_bytes(new)
            for index in readers.get(file, range(len(commands))):
                call = commands[index]
                problem = outcome(call, root / part, capsys)
                if mark.exists():
                    shutil.rmtree(mark)
                    problem = "EXECUTED"
                if problem:
                    wrong.append(f"{part}/{file}, {names[new]}, command {index}: {problem}")
            shutil.rmtree(root)
    return wrong


Place = tuple[Path, Path, pytest.MonkeyPatch, pytest.CaptureFixture[str]]


@pytest.fixture
def place(
    field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Place:
    return field, tmp_path, monkeypatch, capsys


@pytest.mark.parametrize(
    ("part", "forms"),
    [("runs", EXECUTING), ("data", EXECUTING), ("context", FORMS), ("questions", FORMS), ("kept", FORMS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_file_executes(place: Place, part: str, forms: Forms) -> None:
    wrong = plant_everywhere(*place, part, QUICK[part], forms)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["runs", "data", "weights"])
def test_no_file_ends_in_a_traceback(place: Place, part: str) -> None:
    wrong = plant_everywhere(*place, part, [*QUICK[part], *SLOW.get(part, [])], FORMS)
    assert not wrong, "\n".join(wrong)
