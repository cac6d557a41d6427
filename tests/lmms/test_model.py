import inspect
import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vxl
from tests.lmms import stand_in
from tests.run_directories import CLIP, make_run
from tests.test_floors import ROOT
from vxl.errors import ConfigError, DataError
from vxl.evaluate.item import PromptParts
from vxl.evaluate.work.answering import ask_greedily
from vxl.generate.loaded import Clip, LoadedModel
from vxl.lmms import manifest
from vxl.lmms.tasks import doc_to_messages

BUNNY = CLIP.with_name("bunny.mp4")
GREEDY = {"max_new_tokens": 8, "temperature": 0, "do_sample": False, "until": []}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"), "made", steps=(10,))


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    stand_in.install(monkeypatch)
    path = manifest().chat_class_path
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def built(plugin: Any, run: Path, folder: Path, more: str = "") -> Any:
    words = f"run={run},answers={folder},max_num_frames=8{more}"
    return plugin.create_from_arg_string(words, {"batch_size": 1, "max_batch_size": None, "device": "cpu"})


def row(video: Path, user: str, **more: Any) -> dict[str, Any]:
    return {
        "video": str(video),
        "user": user,
        "start": None,
        "end": None,
        "system": None,
        "prefill": "",
    } | more


DOCS = [
    row(CLIP, "What is shown?"),
    row(BUNNY, "Who is it?"),
    row(CLIP, "Where?", prefill="("),
    row(CLIP, "Where?", start=1.0, end=3.0),
    row(BUNNY, "What else?"),
    row(CLIP, "What is shown?", system="Be brief."),
]


def test_the_entry_point_names_a_chat_model(plugin: Any) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points["lmms_eval.models"] == {"vxl": "vxl.lmms:manifest"}
    assert manifest().model_id == "vxl"
    assert issubclass(plugin, stand_in.Base)
    assert not plugin.is_simple
    with pytest.raises(ConfigError, match="--model_args run=NAME"):
        plugin()


def test_answers_are_vxls_in_the_order_of_the_requests(
    plugin: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(plugin, run, tmp_path)
    watched: list[Any] = []
    watch = LoadedModel.watch

    def counted(self: LoadedModel, *looks: Any, **more: Any) -> Any:
        watched.append([(Path(look.media).name, look.start or 0.0) for look in looks])
        return watch(self, *looks, **more)

    monkeypatch.setattr(LoadedModel, "watch", counted)
    found = model.generate_until(stand_in.requests(model, DOCS, doc_to_messages, GREEDY))
    # Once each: bunny, city, city with another system turn, a part of city.
    expected = [("bunny.mp4", 0.0), ("city.mp4", 0.0), ("city.mp4", 0.0), ("city.mp4", 1.0)]
    assert sorted(watched) == [[each] for each in expected]
    ours = vxl.load(run, device="cpu", overrides=["video.max_frames=8"])
    for doc, result in zip(DOCS, found, strict=True):
        if doc["system"] is None:
            context = watch(ours, Clip(doc["video"], "video", doc["start"], doc["end"]))
            answer = ask_greedily(ours, context, PromptParts(doc["user"], None, doc["prefill"]), 8)
            assert result.text == answer.text
            assert result.token_counts.output_tokens == len(answer.tokens)
    assert found[0].text != found[5].text  # the system turn counts


def test_it_resumes_from_its_own_file(plugin: Any, run: Path, tmp_path: Path) -> None:
    model = built(plugin, run, tmp_path)
    first = model.generate_until(stand_in.requests(model, DOCS, doc_to_messages, GREEDY))
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_text().splitlines()
    assert len(lines) == len(DOCS)
    assert {"task", "doc_id", "text", "key"} <= json.loads(lines[0]).keys()
    file.write_text("\n".join([*lines[:2], lines[2][:20]]))  # a kill in the middle of a line
    again = built(plugin, run, tmp_path)
    asked: list[Any] = []
    real = again._answer
    again._answer = lambda *words: asked.append(1) or real(*words)
    assert again.generate_until(stand_in.requests(again, DOCS, doc_to_messages, GREEDY)) == first
    assert len(asked) == len(DOCS) - 2
    third = built(plugin, run, tmp_path)
    third._watched = None
    assert third.generate_until(stand_in.requests(third, DOCS, doc_to_messages, GREEDY)) == first
    other = built(plugin, run, tmp_path, ",kv=streaming,kv.tokens=64")
    assert not other.kept.known  # another policy: other answers


def test_another_file_of_the_same_name_is_asked_about_anew(plugin: Any, run: Path, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(CLIP.read_bytes())
    model = built(plugin, run, tmp_path / "answers")

    def ask() -> Any:
        docs = [row(video, "What?")]
        return model.generate_until(stand_in.requests(model, docs, doc_to_messages, GREEDY))

    (first,) = ask()
    assert [first] == ask()
    assert len(model.kept.known) == 1
    video.write_bytes(BUNNY.read_bytes())
    (second,) = ask()
    assert len(model.kept.known) == 2
    assert second.text != first.text


def test_settings_reach_the_model(plugin: Any, run: Path, tmp_path: Path) -> None:
    model = built(plugin, run, tmp_path, ",kv.keep=0.25,kv=snapkv,fps=0.5,checkpoint=10")
    config = model.loaded.config
    assert (config.kv._target_, config.kv.keep) == ("vxl.kv.snapkv.SnapKV", 0.25)
    assert (config.video.max_frames, config.video.fps) == (8, 0.5)
    assert model.loaded.checkpoint.name == "step-000010"
    assert model.device.type == "cpu"


def test_until_cuts_the_text(plugin: Any, run: Path, tmp_path: Path) -> None:
    model = built(plugin, run, tmp_path)
    (whole,) = model.generate_until(stand_in.requests(model, DOCS[:1], doc_to_messages, GREEDY))
    stop = whole.text[2]
    for until in (stop, [stop]):
        settings = GREEDY | {"until": until}
        (cut,) = model.generate_until(stand_in.requests(model, DOCS[:1], doc_to_messages, settings))
        assert cut.text == whole.text[: whole.text.index(stop)].strip()


def test_nothing_is_answered_without_its_video(plugin: Any, run: Path, tmp_path: Path) -> None:
    model = built(plugin, run, tmp_path / "answers")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(CLIP.read_bytes()[:2000])

    def answer(*parts: dict[str, Any]) -> Any:
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What?"}]}]
        return model.generate_until(stand_in.requests(model, [None], lambda doc: messages, GREEDY))

    with pytest.raises(DataError, match=r"no such file: .*none\.mp4\n  no question is answered without"):
        answer({"type": "video", "url": str(tmp_path / "none.mp4")})
    with pytest.raises(DataError, match=r"broken\.mp4"):
        answer({"type": "video", "url": str(broken)})
    with pytest.raises(DataError, match="these models do not hear"):
        answer({"type": "audio", "url": "a.wav"})
    with pytest.raises(DataError, match="nothing is fetched"):
        answer({"type": "video", "url": "https://example.com/a.mp4"})
    assert not list(tmp_path.glob("answers/*"))
    picture = {"type": "image", "url": Image.new("RGB", (64, 48), "blue")}
    assert answer(picture, {"type": "video", "url": f"file://{CLIP}"})[0].text


def test_what_it_does_not_do_says_so(plugin: Any, run: Path, tmp_path: Path) -> None:
    model = built(plugin, run, tmp_path)
    assert model.generate_until([]) == []
    for method in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(NotImplementedError):
            method([])
    model.clean()
    assert model.loaded is None


def test_the_pages_arguments_are_the_models(plugin: Any) -> None:
    text = "\n".join((ROOT / page).read_text() for page in ("docs/lmms_eval.md", "README.md", "CHANGELOG.md"))
    words = re.findall(r"--model vxl --model_args (\S+)", text)
    assert len(words) >= 4
    own = set(inspect.signature(plugin).parameters)
    groups = {folder.name for folder in (ROOT / "conf").iterdir()}
    for word in words:
        for pair in word.strip("`").split(","):
            key, equals, value = pair.partition("=")
            assert equals, word
            assert value, word
            assert key in own or key.partition(".")[0] in groups, key
