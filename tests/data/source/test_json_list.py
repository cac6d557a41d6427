"""Training from a JSON list and a folder, without shards."""

import json

import pytest

from tests.data.media import image, talk, video, write_json
from vxl.data.source.json_list import JsonSource
from vxl.errors import DataError


@pytest.fixture
def folder(tmp_path):
    media = tmp_path / "media"
    (media / "sub").mkdir(parents=True)
    (media / "sub" / "v.mp4").write_bytes(video())
    (media / "i.jpg").write_bytes(image())
    return tmp_path


def items():
    return [
        {"id": "a", "video": "sub/v.mp4", **talk()},
        {"image": ["i.jpg", "i.jpg"], **talk()},
        {"id": "t", **talk()},
    ]


def source(folder, content, **kwargs):
    file = write_json(folder / "list.json", content)
    return JsonSource(file, folder / "media", cache=folder / "cache", **kwargs)


def probes_of(monkeypatch):
    import vxl.data.source.headers as module

    calls = []
    real = module.describe_media
    monkeypatch.setattr(module, "describe_media", lambda *args: calls.append(args[2]) or real(*args))
    return calls


def test_videos_images_and_text(folder):
    found = source(folder, items())
    assert [found.record(n).key for n in range(3)] == ["a", "item-1", "t"]
    assert (found.record(0).visuals[0].frames, found.record(0).visuals[0].fps) == (8, 4.0)
    assert found.load(0).media == (str(folder / "media" / "sub" / "v.mp4"),)
    assert len(found.load(1).media) == 2
    assert found.where(1) == (str(folder / "list.json"), "item-1")


def test_json_lines(folder):
    file = folder / "list.jsonl"
    file.write_text("\n".join(json.dumps(item) for item in items()))
    assert len(JsonSource(file, folder / "media", cache=folder / "cache")) == 3


def test_headers_are_read_once(folder, monkeypatch):
    calls = probes_of(monkeypatch)
    source(folder, items())
    assert len(calls) == 2  # i.jpg stands in the list twice
    source(folder, items())
    source(folder, [*items(), {"id": "new", "video": "sub/v.mp4", **talk()}])
    assert len(calls) == 2
    (folder / "media" / "sub" / "v.mp4").write_bytes(video(12))
    assert source(folder, items()[::-1]).record(2).visuals[0].frames == 12
    assert len(calls) == 3


def test_a_file_that_was_missing_is_looked_for_again(folder):
    late = [*items(), {"id": "late", "video": "late.mp4", **talk()}]
    found = source(folder, late)
    assert [bad.key for bad in found.known_bad()] == ["late"]
    with pytest.raises(DataError, match=r"late\.mp4 can't be opened"):
        found.record(3)
    (folder / "media" / "late.mp4").write_bytes(video())
    assert source(folder, late).known_bad() == []


def test_a_file_that_is_gone(folder):
    found = source(folder, items())
    (folder / "media" / "sub" / "v.mp4").unlink()
    with pytest.raises(DataError, match=r"sub/v\.mp4 does not exist any more"):
        found.load(0)


CASES = {
    "no conversations": (
        [{"id": "a", "video": "sub/v.mp4"}],
        "no sample of",
        "got the keys: id, video",
    ),
    "wrong folder": (
        [{"video": "v.mp4", **talk()}],
        "none of the 1 files",
        "data.videos=FOLDER",
        "--videos FOLDER",
        "media/v.mp4",
    ),
    "an object": ({"items": []}, "is an object, not a list of objects"),
    "empty": ([], "is an empty list"),
}


@pytest.mark.parametrize("case", CASES)
def test_message(folder, case):
    content, *words = CASES[case]
    with pytest.raises(DataError) as error:
        source(folder, content)
    for word in words:
        assert word in str(error.value)


def test_no_json(folder):
    for name, text, words in (
        ("a.json", "{}\n{]", "line 2"),
        ("b.json", "[,]", "line 1"),
        ("c.json", None, "can't be read"),
    ):
        if text is not None:
            (folder / name).write_text(text)
        with pytest.raises(DataError, match=words):
            JsonSource(folder / name, folder / "media", cache=folder)
