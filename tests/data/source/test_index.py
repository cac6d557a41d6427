"""The sidecar index: made once, made anew when the tar changes, and honest about what is cut off."""

import json
import os
import shutil

import pytest

from tests.data.media import image, talk, video, write
from vxl.data.source.entry import samples_of
from vxl.data.source.index import index_places, open_index, write_index
from vxl.data.write.shards import TarMember, write_shards
from vxl.errors import DataError


def reads_of(monkeypatch):
    import vxl.data.source.index as module

    calls = []
    real = module.read_contents
    monkeypatch.setattr(module, "read_contents", lambda url: calls.append(url) or real(url))
    return calls


def test_describes_videos_and_images_without_being_asked_twice(tmp_path, monkeypatch):
    files = {"1.jpg": image(), "0.mp4": video(8, 4.0), "json": talk()}
    path = str(write_shards([TarMember("a", files)], tmp_path)[0])
    entry = open_index(path, tmp_path / "cache").entry(0)
    assert [visual["name"] for visual in entry["visuals"]] == ["a.0.mp4", "a.1.jpg"]
    first, second = samples_of(entry, path)[0].visuals
    assert (first.frames, first.fps, first.seconds, first.width, first.height) == (8, 4.0, 2.0, 32, 24)
    assert (second.kind, second.frames, second.width, second.height) == ("image", 1, 20, 10)
    calls = reads_of(monkeypatch)
    assert len(open_index(path, tmp_path / "cache")) == 1
    assert calls == []


def test_made_anew_when_the_tar_changes(tmp_path, monkeypatch):
    path = str(write(tmp_path, 3)[0])
    assert len(open_index(path, tmp_path)) == 3
    calls = reads_of(monkeypatch)
    shutil.copy(write(tmp_path / "other", 5)[0], path)
    assert len(open_index(path, tmp_path)) == 5
    os.utime(path, (1, 1))
    assert len(open_index(path, tmp_path)) == 5
    assert calls == [path, path]


def test_goes_into_the_cache_where_the_tar_is_read_only(tmp_path, monkeypatch):
    """EROFS is injected: the tests may run as a user for whom nothing is read-only."""
    import vxl.data.source.index as module

    path = str(write(tmp_path / "data", 3)[0])
    real = module.write_file

    def write_file(target, data):
        if target.parent == tmp_path / "data":
            raise OSError(30, "Read-only file system")
        real(target, data)

    monkeypatch.setattr(module, "write_file", write_file)
    assert len(open_index(path, tmp_path / "cache")) == 3
    assert not os.path.exists(f"{path}.index")
    calls = reads_of(monkeypatch)
    assert len(open_index(path, tmp_path / "cache")) == 3
    assert calls == []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_file", full)
    monkeypatch.setattr("vxl.data.source.headers.write_file", full)
    os.utime(path, (1, 1))
    with pytest.raises(
        DataError, match=r"No space left on device[.]\n  name a folder that can:  paths[.]cache=FOLDER"
    ):
        open_index(path, tmp_path / "cache")


def test_of_a_url_is_in_the_cache(tmp_path):
    import fsspec

    with fsspec.open("memory://index/s.tar", "wb") as f:
        f.write(write(tmp_path, 4)[0].read_bytes())
    assert len(open_index("memory://index/s.tar", tmp_path / "cache")) == 4
    assert os.path.exists(index_places("memory://index/s.tar", tmp_path / "cache")[0])


def test_an_index_cut_off_by_a_crash_or_of_another_version_is_not_taken(tmp_path):
    path = str(write(tmp_path, 3)[0])
    open_index(path, tmp_path)
    for broken in (b"", b"{", b'{"format": 0}\n'):
        with open(f"{path}.index", "wb") as f:
            f.write(broken)
        assert len(open_index(path, tmp_path)) == 3


def test_a_tar_cut_off_in_the_middle(tmp_path):
    path = write(tmp_path, 5)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 * 1024 + 520])
    with pytest.raises(DataError) as error:
        open_index(str(path), tmp_path)
    for words in (
        f"{path} is cut off: it has 3592 bytes and breaks at byte 3072; the last whole member is 's0002'",
        f"vxl shards index --keep-good {path}",
    ):
        assert words in str(error.value)
    kept = write_index(str(path), tmp_path, keep_good=True)
    assert (len(kept), kept.cut_at) == (3, 3072)
    assert len(open_index(str(path), tmp_path)) == 3  # from now on
    path.write_bytes(whole)
    assert len(open_index(str(path), tmp_path)) == 5


def test_a_json_that_says_nothing_to_training_is_kept_by_reason(tmp_path):
    """img2dataset: a caption beside a dozen keys, and KEY.txt; video2dataset leaves the caption to
    KEY.txt."""
    members = [
        TarMember(
            "img", {"jpg": image(), "txt": "a cat", "json": {"caption": "a cat", "url": "x", "width": 3}}
        ),
        TarMember("vid", {"mp4": video(), "txt": "it shines", "json": {"url": "x", "caption": None}}),
        TarMember("txt", {"png": image(), "txt": "a dog"}),
        TarMember("odd", {"jpg": image(), "json": {"url": "x"}}),
        TarMember("not", {"jpg": image(), "json": b"{"}),
        TarMember("bare", {"jpg": image()}),
        TarMember("cut", {"mp4": video()[:200], "txt": "x"}),
        TarMember(
            "ask",
            {
                "mp4": video(),
                "json": {"questions": 2 * [{"question": "q", "options": ["a", "b"], "answer": "A"}]},
            },
        ),
    ]
    path = str(write_shards(members, tmp_path)[0])
    index = open_index(path, tmp_path)
    entries = {index.entry(n)["key"]: index.entry(n) for n in range(8)}
    assert samples_of(entries["img"], path)[0].turns[1].text == "a cat"
    assert samples_of(entries["vid"], path)[0].turns[1].text == "it shines"
    assert "url" not in entries["img"]["text"]
    assert len(index) == 9  # two questions
    assert [index.locate(n) for n in (6, 7, 8)] == [(6, 0), (7, 0), (7, 1)]
    assert index.bad == [3, 4, 5, 6]
    for key, words in (
        ("odd", "got the keys: url"),
        ("not", "no JSON"),
        ("bare", "add bare.json or bare.txt"),
        ("cut", "cut.mp4"),
    ):
        assert words in entries[key]["bad"]
        with pytest.raises(DataError):
            samples_of(entries[key], path)


def test_is_readable_by_people(tmp_path):
    path = str(write(tmp_path, 2)[0])
    open_index(path, tmp_path)
    with open(f"{path}.index") as file:
        lines = [json.loads(line) for line in file]
    assert [line.get("key") for line in lines] == [None, "s0000", "s0001"]
