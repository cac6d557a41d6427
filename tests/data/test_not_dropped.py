"""What a list, tar or folder holds and can not be used is said: nothing is dropped or taken for another."""

import bz2
import io
import json
import lzma
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.data.media import image, talk, video
from vxl.data.source.json_list import JsonSource, read_items
from vxl.data.source.source import IndexedShards
from vxl.data.write.lint import lint, wrong_members
from vxl.data.write.shards import members_of_folder, members_of_json
from vxl.errors import DataError
from vxl.json_text import doubled_key, parse_json

TALK = json.dumps(talk()).encode()


def tar_of(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


GOOD = (("k2.mp4", video()), ("k2.json", TALK))


def only_bad(path: Path, cache: Path) -> str:
    """Why the first of two members of a tar is bad; the second is not, and lint says the same."""
    shards = IndexedShards([str(path)], cache=cache)
    (bad,) = shards.known_bad()
    assert [visual.kind for visual in shards.record(1).visuals] == ["video"]
    assert len(list(lint([str(path)], cache))) == 1
    return bad.reason


def listed(folder: Path, text: str) -> JsonSource:
    (folder / "v.mp4").write_bytes(video())
    (folder / "list.json").write_text(text)
    return JsonSource(folder / "list.json", folder, cache=folder / "cache")


def test_a_key_twice_in_an_object_is_found_anywhere() -> None:
    assert parse_json('{"a": [1, {"b": 2}], "c": null}') == {"a": [1, {"b": 2}], "c": None}
    assert doubled_key(parse_json('{"a": [1, {"b": 2}], "c": null}')) is None
    assert doubled_key(parse_json('[{"a": [1, {"b": 2, "c": 3, "b": 4}]}]')) == "b"


@pytest.mark.parametrize("key", ["video", "conversations", "value", "note"])
def test_a_key_twice_makes_the_item_bad_and_no_other(key: str, tmp_path: Path) -> None:
    item = json.dumps({"id": "x", "video": "v.mp4", "note": 1, "conversations": [
        {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
    ]})  # fmt: skip
    at = item.index(f'"{key}"')
    twice = f'{item[:at]}"{key}": "other", {item[at:]}'
    found = listed(tmp_path, f"[{twice}, {json.dumps({'id': 'y', 'video': 'v.mp4', **talk()})}]")
    assert [(bad.key, f"the key '{key}' comes twice" in bad.reason) for bad in found.known_bad()] == [
        ("x", True)
    ]
    members = list(members_of_json(tmp_path / "list.json", tmp_path))
    assert list(wrong_members(members, "list")) == [0]
    path = tar_of(tmp_path / "t.tar", ("k1.mp4", video()), ("k1.json", twice.encode()), *GOOD)
    assert f"the key '{key}' comes twice" in only_bad(path, tmp_path)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_text_that_is_nested_beyond_all_use(depth: int, tmp_path: Path) -> None:
    deep = f'{{"caption": "c", "note": {"[" * depth}{"]" * depth}}}'
    path = tar_of(tmp_path / "t.tar", ("k1.mp4", video()), ("k1.json", deep.encode()), *GOOD)
    assert "k1.json" in only_bad(path, tmp_path)


@pytest.mark.parametrize("ending", ["json", "txt"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "gb18030"])
def test_text_of_another_encoding_is_not_learned_garbled(ending: str, encoding: str, tmp_path: Path) -> None:
    words = '{"caption": "café 视频"}' if ending == "json" else "café 视频"
    data = words.encode(encoding, "replace")
    path = tar_of(tmp_path / "t.tar", ("k1.mp4", video()), (f"k1.{ending}", data), *GOOD)
    assert f"'k1.{ending}' is no UTF-8" in only_bad(path, tmp_path)


@pytest.mark.parametrize(
    "names", [{"video": "k1.mp4"}, {"images": ["a.jpg", "b.jpg"]}, {"video_path": "x/k.mp4"}]
)
def test_a_file_that_the_json_of_a_tar_names_and_the_tar_lacks(names: dict[str, Any], tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", ("k1.json", json.dumps({**talk(), **names}).encode()), *GOOD)
    assert "write the file beside the JSON" in only_bad(path, tmp_path)
    beside = tar_of(tmp_path / "b.tar", ("k1.mp4", video()), ("k1.json", json.dumps(talk() | names).encode()))
    assert IndexedShards([str(beside)], cache=tmp_path).known_bad() == []


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, b"Z"])
def test_a_member_that_is_no_file(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("k1.mp4")
    info.type = kind
    path = tar_of(tmp_path / "t.tar", info, ("k1.json", TALK), *GOOD)
    assert "'k1.mp4' is a folder, a pipe or a device" in only_bad(path, tmp_path)


def test_folders_and_hidden_files_of_a_tar_are_no_members(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("2024.05")
    folder.type = tarfile.DIRTYPE
    hidden = [(f"{name}.json", TALK) for name in ("", ".k1", "d/.nfs")]
    path = tar_of(tmp_path / "t.tar", folder, *hidden, *GOOD)
    shards = IndexedShards([str(path)], cache=tmp_path)
    assert (len(shards), shards.known_bad()) == (1, [])


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_file_with_holes_does_not_cut_the_tar_off(form: str, tmp_path: Path) -> None:
    with open(tmp_path / "k1.mp4", "wb") as file:
        file.truncate(1 << 20)
    (tmp_path / "k1.json").write_bytes(TALK)
    for name, data in GOOD:
        (tmp_path / name).write_bytes(data)
    names = "k1.mp4 k1.json k2.mp4 k2.json"
    assert os.system(f"cd {tmp_path} && tar -S --format={form} -cf t.tar {names}") == 0
    assert "'k1.mp4' is written with holes" in only_bad(tmp_path / "t.tar", tmp_path)


@pytest.mark.parametrize("suffix", ["mp4.json", "info.json", "0.json", "05.01.json"])
def test_a_text_behind_another_dot_is_named(suffix: str, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", ("k1.mp4", video()), (f"k1.{suffix}", TALK), *GOOD)
    assert f"k1.{suffix} is beside it" in only_bad(path, tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bz2.compress(TALK * 50), "bunzip2"),
        (lzma.compress(TALK * 50), "unxz"),
        (b"\x28\xb5\x2f\xfd" + bytes(2000), "unzstd"),
        (b"\x04\x22\x4d\x18" + bytes(2000), "unlz4"),
        (b"PK\x03\x04" + bytes(2000), "unzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>" + b" " * 2000, "a page of a server"),
    ],
)
def test_what_lies_in_the_place_of_a_tar(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(data)
    with pytest.raises(DataError, match=words):
        IndexedShards([str(tmp_path / "t.tar")], cache=tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("version https://git-lfs", "git lfs pull"), ("\n<html>401", "a page of a server")],
)
def test_what_lies_in_the_place_of_a_list(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_items(tmp_path / "l.json")


def test_a_video_is_not_taken_for_the_image_that_an_item_names(tmp_path: Path) -> None:
    """Both are known by one path: what was asked as a video says nothing of an image."""
    items = [{"id": n, "video": "v.mp4", **talk()} for n in "ac"]
    items.insert(1, {"id": "b", "image": "v.mp4", **talk()})
    for _ in range(2):  # and so from the cache
        assert [bad.key for bad in listed(tmp_path, json.dumps(items)).known_bad()] == ["b"]


def test_a_list_reads_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    os.symlink("/dev/zero", tmp_path / "zero.mp4")
    items = [{"id": name, "video": f"{name}.mp4", **talk()} for name in ("pipe", "zero", "v")]
    found = listed(tmp_path, json.dumps(items))
    assert [bad.key for bad in found.known_bad()] == ["pipe", "zero"]
    assert "is a pipe or a device" in found.known_bad()[0].reason


def test_names_that_no_file_can_have_are_the_samples_own_mistake(tmp_path: Path) -> None:
    items = [{"id": "x", "video": "a" * 300 + ".mp4", **talk()}, {"id": "v", "video": "v.mp4", **talk()}]
    assert [bad.key for bad in listed(tmp_path, json.dumps(items)).known_bad()] == ["x"]
    assert list(wrong_members(list(members_of_json(tmp_path / "list.json", tmp_path)), "list")) == [0]


@pytest.mark.parametrize(
    "change",
    [
        {"start": False},
        {"start": "0"},
        {"caption": " \n", "conversations": None},
        {"segments": [{"start": 2, "end": 1, "text": "t"}]},
        {"segments": [{"start": 0, "end": 1, "text": None}]},
    ],
    ids=str,
)
def test_other_values_that_were_passed_over(change: dict[str, Any], tmp_path: Path) -> None:
    bad = {"id": "x", "video": "v.mp4", **talk(), **change}
    found = listed(
        tmp_path, json.dumps([bad, {"id": "v", "video": "v.mp4", "start": "", "end": "", **talk()}])
    )
    assert [bad.key for bad in found.known_bad()] == ["x"]
    assert found.record(1).visuals[0].start is None


@pytest.mark.parametrize("what", ["a link to nothing", "a pipe", "a folder"])
def test_a_folder_holds_what_is_no_file(what: str, tmp_path: Path) -> None:
    for name, data in (*GOOD, ("k1.json", TALK)):
        (tmp_path / name).write_bytes(data)
    if what == "a folder":
        (tmp_path / "k1.mp4").mkdir()
    elif what == "a pipe":
        os.mkfifo(tmp_path / "k1.mp4")
    else:
        os.symlink("gone.mp4", tmp_path / "k1.mp4")
    wrong = wrong_members(list(members_of_folder(tmp_path)), "folder")
    assert len(wrong) == 1
    assert "k1.mp4 can't be shown" in wrong[0]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in (".git/a.json", ".ipynb_checkpoints/k2.json", "__MACOSX/k2.json", ".k3.json", "sub/.x/y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(TALK)
    for name, data in (*GOOD, ("sub/k3.jpg", image()), ("sub/k3.json", TALK)):
        (tmp_path / name).write_bytes(data)
    assert [member.key for member in members_of_folder(tmp_path)] == ["k2", "sub/k3"]
