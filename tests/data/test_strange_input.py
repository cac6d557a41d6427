"""Input as strangers have it: odd endings, wrong types, doubled names, joined and foreign tars."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.data.media import image, talk, video
from vxl.data.sample import PLACEHOLDER, Question, Visual, parse
from vxl.data.source.index import open_index, write_index
from vxl.data.source.json_list import JsonSource, read_items
from vxl.data.source.named import media_of_item
from vxl.data.source.source import IndexedShards, IndexedSource
from vxl.data.write.lint import lint, stats, wrong_members
from vxl.data.write.shards import ShardWriter, TarMember, members_of_folder, members_of_json
from vxl.errors import DataError
from vxl.video.endings import IMAGE_ENDINGS, VIDEO_ENDINGS, media_kind
from vxl.video.image import read_rgb
from vxl.video.probe import probe
from vxl.video.virtual import Virtual


def said(words: str = "What?") -> list[dict[str, str]]:
    return [{"from": "human", "value": words}, {"from": "gpt", "value": "Yes."}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the same video and image under many names."""
    for name in ("v.mp4", "c.m4v", "c.3gp", "c.TS", "noending", "c.odd"):
        (tmp_path / name).write_bytes(video())
    for name in ("i.jpg", "i.JFIF", "i.bmp"):
        (tmp_path / name).write_bytes(image())
    return tmp_path


def source(folder: Path, items: list, **kwargs) -> JsonSource:
    file = folder / "list.json"
    file.write_text(json.dumps(items))
    return JsonSource(file, folder, cache=folder / "cache", **kwargs)


def written(folder: Path, members: list[TarMember]) -> IndexedShards:
    with ShardWriter(folder / "out") as writer:
        for member in members:
            writer.write(member.key, member.files)
    return IndexedShards([str(path) for path in writer.written], cache=folder / "cache")


def tar_of(path: Path, files: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo("k9.mp4")
            info.type, info.linkname = kind, link
            tar.addfile(info)
            info = tarfile.TarInfo("k9.json")
            data = json.dumps(talk()).encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


TALK = json.dumps(talk()).encode()

# --- one list of what can be shown


@pytest.mark.parametrize("name", ["c.m4v", "c.3gp", "c.TS", "noending", "c.odd"])
def test_a_video_of_any_ending_is_one_in_a_list_and_in_a_shard(name: str, folder: Path) -> None:
    listed = source(folder, [{"id": 1, "video": name, "conversations": said()}])
    (visual,) = listed.record(0).visuals
    shards = written(folder, list(members_of_json(folder / "list.json", folder)))
    (again,) = shards.record(0).visuals
    assert (visual.kind, visual.frames, visual.seconds) == (again.kind, again.frames, again.seconds)
    assert (visual.kind, visual.frames) == ("video", 8)


@pytest.mark.parametrize("name", ["i.JFIF", "i.bmp"])
def test_an_image_of_any_ending(name: str, folder: Path) -> None:
    source(folder, [{"id": 1, "image": name, "conversations": said()}])
    shards = written(folder, list(members_of_json(folder / "list.json", folder)))
    assert [visual.kind for visual in shards.record(0).visuals] == ["image"]


@pytest.mark.parametrize("ending", ["m4v", "mpg", "MOV", "gif", "video"])
def test_members_of_a_tar_are_known_by_the_same_list(ending: str, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", [(f"k1.{ending}", video()), ("k1.json", TALK)])
    assert [v.kind for v in IndexedShards([str(path)], cache=tmp_path).record(0).visuals] == ["video"]
    assert media_kind(f"folder.odd/k1.{ending}") == "video"
    assert not set(VIDEO_ENDINGS) & set(IMAGE_ENDINGS)


def test_what_can_not_be_shown_is_an_error_and_not_text_alone(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", [("k1.xyz", b"x"), ("k1.json", TALK), ("k2.json", TALK)])
    assert "member 'k1.xyz' can't be shown" in "\n".join(lint([str(path)], tmp_path))
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in {"k1.xyz": b"x", "k1.json": TALK, "k2.mp4": video(), "k2.json": TALK}.items():
        (folder / name).write_bytes(data)
    wrong = wrong_members(list(members_of_folder(folder)), str(folder))
    assert list(wrong) == [0]
    assert "k1.xyz" in wrong[0]


def test_text_alone_beside_videos_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tar_of(tmp_path / "t.tar", [("k1.json", TALK), ("k2.mp4", video()), ("k2.json", TALK)])
    write_index(str(path), tmp_path)
    assert "1 of 2 samples are text alone, e.g. k1" in caplog.text


@pytest.mark.parametrize("key", ["videos", "images", "video", "image"])
def test_plural_keys_name_media_too(key: str, folder: Path) -> None:
    kind = key.removesuffix("s")
    name = "v.mp4" if kind == "video" else "i.jpg"
    for value in (name, [name]):
        listed = source(folder, [{"id": 1, key: value, "conversations": said()}])
        assert [visual.kind for visual in listed.record(0).visuals] == [kind]
        (member,) = members_of_json(folder / "list.json", folder)
        assert key not in member.files["json"]


# --- samples are not lost


def test_a_key_twice_in_a_tar_is_two_samples(tmp_path: Path) -> None:
    files = [
        (f"{key}.{end}", data)
        for key in ("k1", "k2", "k1")
        for end, data in (("mp4", video()), ("json", TALK))
    ]
    path = tar_of(tmp_path / "t.tar", files)
    shards = IndexedShards([str(path)], cache=tmp_path)
    assert [shards.where(n)[1] for n in range(len(shards))] == ["k1", "k2", "k1"]
    assert all(len(shards.record(n).visuals) == 1 for n in range(3))
    assert stats([str(path)], tmp_path)["members"] == 3
    offsets = [shards.indices[0].entry(n)["visuals"][0]["offset"] for n in range(3)]
    assert len(set(offsets)) == 3


def test_tars_joined_by_cat_are_both_read(tmp_path: Path) -> None:
    one = tar_of(tmp_path / "a.tar", [("k1.mp4", video()), ("k1.json", TALK)]).read_bytes()
    two = tar_of(tmp_path / "b.tar", [("k2.mp4", video(4)), ("k2.json", TALK)]).read_bytes()
    joined = tmp_path / "c.tar"
    joined.write_bytes(one + two + two)
    shards = IndexedShards([str(joined)], cache=tmp_path)
    assert [shards.where(n)[1] for n in range(len(shards))] == ["k1", "k2", "k2"]
    assert [shards.record(n).visuals[0].frames for n in range(3)] == [8, 4, 4]
    assert shards.load(1).media[0] == video(4)
    joined.write_bytes(one + b"rubbish" * 200)
    with pytest.raises(DataError, match="cut off"):
        IndexedShards([str(joined)], cache=tmp_path / "other")


def test_a_missing_end_mark_loses_nothing(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", [("k1.mp4", video()), ("k1.json", TALK)])
    data = path.read_bytes()
    end = data.index(TALK) // 512 * 512 + 512
    path.write_bytes(data[:end])
    with pytest.raises(DataError, match="only the mark at its end is missing"):
        open_index(str(path), tmp_path)
    assert len(write_index(str(path), tmp_path, keep_good=True)) == 1


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_within_a_tar_lead_to_what_they_name(kind: bytes, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", [("k1.mp4", video()), ("k1.json", TALK)], kind, "k1.mp4")
    shards = IndexedShards([str(path)], cache=tmp_path)
    assert len(shards) == 2
    assert shards.load(1).media == (video(),)
    away = tar_of(tmp_path / "a.tar", [("k1.json", TALK)], kind, "../secret.mp4")
    found = IndexedSource("t", [open_index(str(away), tmp_path)])
    assert "is a link to ../secret.mp4" in found.known_bad()[0].reason


@pytest.mark.parametrize(
    "others",
    [
        [("._k1.mp4", b"x"), ("d/._k1.json", b"x"), ("d/._k2.JSON", b"x")],
        [(".DS_Store", b"x"), ("README.md", b"x"), ("d/Thumbs.db", b"x"), ("LICENSE", b"x")],
    ],
)
def test_what_systems_leave_in_a_tar_is_no_sample(others: list[tuple[str, bytes]], tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", [*others, ("k1.mp4", video()), ("k1.json", TALK), *others])
    shards = IndexedShards([str(path)], cache=tmp_path)
    assert len(shards) == 1
    assert shards.known_bad() == []


def test_endings_in_capitals(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "t.tar", [("k1.MP4", video()), ("k1.JSON", TALK), ("k2.Jpg", image()), ("k2.Txt", b"a")]
    )
    shards = IndexedShards([str(path)], cache=tmp_path)
    assert [shards.record(n).visuals[0].kind for n in range(2)] == ["video", "image"]
    assert shards.load(0).media == (video(),)


def test_one_name_twice_with_one_of_them_bad(folder: Path) -> None:
    items = [
        {"id": "a", "video": "v.mp4", "conversations": said()},
        {"id": "a", "video": "gone.mp4", "conversations": said()},
        {"id": "b", "video": "v.mp4", "conversations": said()},
    ]
    source(folder, items)
    members = list(members_of_json(folder / "list.json", folder))
    assert list(wrong_members(members, "list")) == [1]
    same = list(members_of_json(source(folder, [items[0], items[0]]) and folder / "list.json", folder))
    assert "both have the key 'a'" in wrong_members(same, "list")[1]


def test_names_that_differ_in_a_dot_alone(folder: Path) -> None:
    source(folder, [{"id": key, "video": "v.mp4", "conversations": said()} for key in ("a.b", "a_b")])
    members = list(members_of_json(folder / "list.json", folder))
    assert "samples 1 and 2 both have the key 'a_b'" in wrong_members(members, "list")[1]
    for name in ("x.y", "x_y"):
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "sub" / f"{name}.mp4").write_bytes(video())
        (folder / "sub" / f"{name}.json").write_bytes(TALK)
    members = list(members_of_folder(folder / "sub"))
    assert [len(member.files) for member in members] == [2, 2]
    assert list(wrong_members(members, "sub")) == [1]


@pytest.mark.parametrize(
    "names", [("ep.1", "ep.2"), ("clip_12.0", "clip_12.5"), ("2024.05.01", "2024.05.02")]
)
def test_numbers_behind_a_dot_in_names(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / f"{name}.mp4").write_bytes(video())
        (tmp_path / f"{name}.json").write_bytes(TALK)
    (tmp_path / "many.json").write_bytes(TALK)
    for number in range(2):
        (tmp_path / f"many.{number}.jpg").write_bytes(image())
    members = {member.key: sorted(member.files) for member in members_of_folder(tmp_path)}
    assert members == {
        **{name.replace(".", "_"): ["json", "mp4"] for name in names},
        "many": ["0.jpg", "1.jpg", "json"],
    }


# --- input is typed where it is read

GOOD = {"id": "ok", "video": "v.mp4", "conversations": said()}


@pytest.mark.parametrize(
    "change",
    [
        {"image": float("nan")},
        {"video": 5},
        {"video": ["v.mp4", 3]},
        {"video": {"path": "v.mp4"}},
        {"video": True},
        {"video": "a\0b.mp4"},
        {"segments": 5},
        {"segments": "x"},
        {"segments": [{"start": 0, "end": "x", "text": "t"}]},
        {"questions": 5},
        {"questions": [{"question": 3, "options": ["a", "b"], "answer": "A"}]},
        {"start": float("nan")},
        {"start": "soon"},
        {"start": 0, "end": float("nan")},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": -1},
        {"conversations": said("half \ud83d")},
        {"conversations": 5},
        {"conversations": [5]},
        {"caption": 5, "conversations": None},
        {"source": "\udc00"},
    ],
    ids=str,
)
def test_one_bad_item_leaves_the_others_usable(change: dict, folder: Path) -> None:
    bad = {**GOOD, "id": "bad", **change}
    listed = source(folder, [bad, GOOD])
    assert [found.key for found in listed.known_bad()] == ["bad"]
    assert len(listed.record(1).visuals) == 1
    with pytest.raises(DataError):
        listed.record(0)
    members = list(members_of_json(folder / "list.json", folder))
    assert list(wrong_members(members, "list")) == [0]
    assert len(list(lint([str(folder / "list.json")], folder / "cache"))) == 1
    tar = {key: value for key, value in bad.items() if key not in ("image", "video")}
    if set(change) & {"image", "video"}:
        return
    path = tar_of(
        folder / "t.tar",
        [("k1.mp4", video()), ("k1.json", json.dumps(tar).encode()), ("k2.mp4", video()), ("k2.json", TALK)],
    )
    shards = IndexedShards([str(path)], cache=folder / "cache")
    assert [found.key for found in shards.known_bad()] == ["k1"]
    assert len(shards.record(1).visuals) == 1


@pytest.mark.parametrize("key", ["\ud83d", 5, 5.5, True, ["a"]])
def test_any_id_is_a_name(key: object, folder: Path) -> None:
    listed = source(folder, [{**GOOD, "id": key}], some=False)
    listed.where(0)[1].encode()


@pytest.mark.parametrize(
    "part", [{"start": 90}, {"start": 1.9}, {"start": 2.0, "end": 3.0}, {"start": 0.05, "end": 0.2}]
)
def test_a_part_in_which_nothing_is_shown_is_wrong_in_lint_as_in_training(part: dict, folder: Path) -> None:
    """Of eight frames at four a second, the last one comes at 1.75 s."""
    listed = source(folder, [{**GOOD, "id": "bad", **part}, {**GOOD, "start": 1.7}])
    assert [found.key for found in listed.known_bad()] == ["bad"]
    assert listed.record(1).visuals[0].start == 1.7
    (line,) = lint([str(folder / "list.json")], folder / "cache")
    assert "sample 'bad': v.mp4: no frame between" in line
    members = list(members_of_json(folder / "list.json", folder))
    assert list(wrong_members(members, "list")) == [0]


def test_a_bad_item_is_named_once(folder: Path) -> None:
    source(folder, [{**GOOD, "id": "bad", "conversations": said("half \ud83d")}, GOOD])
    (reason,) = wrong_members(list(members_of_json(folder / "list.json", folder)), "list").values()
    assert reason.count("item 'bad'") == 1


def test_lint_says_how_it_is_told_where_media_lie(folder: Path) -> None:
    source(folder, [GOOD])
    (folder / "elsewhere").mkdir()
    (line,) = lint([str(folder / "list.json")], folder / "other", videos=folder / "elsewhere")
    assert "(in training; of vxl shards:  --videos FOLDER)" in line


def test_lint_decodes_all_that_is_shown(folder: Path) -> None:
    """Images, frames of a folder, and frames in the middle of a video whose last one is whole."""
    whole = bytearray((Path(__file__).parents[1] / "video/files/cor_hevc_zero_30.mp4").read_bytes())
    (folder / "middle.mp4").write_bytes(whole)
    (folder / "cut.jpg").write_bytes(image(200, 200)[:-300])
    (folder / "frames").mkdir()
    for name, data in (("1.jpg", image()), ("2.jpg", image()[:-100])):
        (folder / "frames" / name).write_bytes(data)
    items = [
        {"id": "middle", "video": "middle.mp4", **talk()},
        {"id": "cut", "image": "cut.jpg", **talk()},
        {"id": "frames", "video": "frames", "fps": 1, **talk()},
        {"id": "good", "video": "v.mp4", **talk()},
    ]
    source(folder, items)
    assert list(lint([str(folder / "list.json")], folder / "cache")) == []
    lines = list(lint([str(folder / "list.json")], folder / "cache", decode=True))
    assert [name for name in ("middle.mp4", "cut.jpg", "2.jpg") if any(name in line for line in lines)] == [
        "middle.mp4",
        "cut.jpg",
        "2.jpg",
    ]
    assert len(lines) == 3


def test_an_endless_segment_is_the_rest_of_the_video(folder: Path) -> None:
    listed = source(folder, [{**GOOD, "start": 0, "end": float("inf")}])
    assert listed.record(0).visuals[0].end == float("inf")


def test_separators_within_strings_do_not_end_a_line(tmp_path: Path) -> None:
    file = tmp_path / "l.jsonl"
    text = "one\u2028two\u0085three\x1dfour"
    lines = [json.dumps({"id": n, "conversations": said(text)}, ensure_ascii=False) for n in range(2)]
    file.write_bytes("\r\n".join(lines).encode())
    assert [item["conversations"][0]["value"] for item in read_items(file)] == [text, text]


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "l.jsonl"
    file.write_text(f'{json.dumps(GOOD)}\n\n{{"id": 3, "vid')
    with pytest.raises(DataError, match=r"l.jsonl, line 3, is no JSON: [\w ]+: column 11$"):
        read_items(file)


@pytest.mark.parametrize("name", ["l.json", "l.jsonl"])
def test_a_byte_order_mark_is_passed_over(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(json.dumps([GOOD] if name == "l.json" else GOOD), encoding="utf-8-sig")
    assert read_items(file) == [GOOD]
    path = tar_of(tmp_path / "t.tar", [("k1.mp4", video()), ("k1.json", b"\xef\xbb\xbf" + TALK)])
    assert IndexedShards([str(path)], cache=tmp_path).known_bad() == []


# --- placeholders


def test_a_placeholder_tells_an_image_from_a_video(folder: Path) -> None:
    words = "First a video: <video>\nthen a picture: <image>"
    item = {"id": 1, "image": "i.jpg", "video": "v.mp4", "conversations": said(words)}
    listed = source(folder, [item])
    assert [visual.kind for visual in listed.record(0).visuals] == ["video", "image"]
    assert [str(media).rpartition("/")[2] for media in listed.load(0).media] == ["v.mp4", "i.jpg"]
    shards = written(folder, list(members_of_json(folder / "list.json", folder)))
    assert [visual.kind for visual in shards.record(0).visuals] == ["video", "image"]
    assert shards.load(0).media == (video(), image())
    both = source(folder, [{**item, "conversations": said("<image>\n<image>")}])
    assert [visual.kind for visual in both.record(0).visuals] == ["image", "video"]


@pytest.mark.parametrize("mark", ["<image>", "<video>"])
def test_placeholders_of_a_question_are_not_text(mark: str) -> None:
    question = {"question": f"{mark}\nWhat?", "options": ["a", "b"], "answer": "A"}
    (sample,) = parse({"questions": [question]}, [Visual("video", "v")], shard="s", key="k")
    assert sample.question == Question("What?", ("a", "b"), "A")
    for text in ({**question, "question": f"{mark}{mark}What?"}, {**question, "options": [mark, "b"]}):
        with pytest.raises(DataError, match="leave them out"):
            parse({"questions": [text]}, [Visual("video", "v")], shard="s", key="k")


def test_the_message_names_the_placeholder_that_was_written() -> None:
    with pytest.raises(DataError, match=r"1 <video> in the turns, but 0 visuals"):
        parse({"conversations": said("What does <video> do in HTML?")}, [], shard="s", key="k")
    with pytest.raises(DataError, match=rf"1 {PLACEHOLDER} in the turns, but 0 visuals"):
        parse({"conversations": said("<image>?")}, [], shard="s", key="k")


def test_media_of_says_what_to_write() -> None:
    with pytest.raises(DataError, match=r"'videos' is 7"):
        media_of_item({"videos": 7})


# --- caches know what they were made from


def test_a_replaced_video_is_looked_at_again(folder: Path) -> None:
    assert source(folder, [GOOD]).record(0).visuals[0].frames == 8
    listed = JsonSource(folder / "list.json", folder, cache=folder / "cache")
    (folder / "v.mp4").write_bytes(video(4, 2.0))
    with pytest.raises(DataError, match="was replaced after"):
        listed.load(0)
    again = JsonSource(folder / "list.json", folder, cache=folder / "cache").record(0).visuals[0]
    assert (again.frames, again.fps) == (4, 2.0)


@pytest.mark.parametrize(
    "rubbish", [b"", b"{", b"[]", b"5", b'{"format": 2}', b'{"format": 1}\n', b"\xff\xfe"]
)
def test_spoilt_files_of_the_cache_are_made_anew(rubbish: bytes, folder: Path) -> None:
    source(folder, [GOOD])
    for file in (*(folder / "cache").rglob("*.json"), *(folder / "cache").rglob("*.index")):
        file.write_bytes(rubbish)
    assert source(folder, [GOOD]).record(0).visuals[0].frames == 8


@pytest.mark.parametrize("cut", [1, 200])
def test_an_index_that_was_cut_is_made_anew(cut: int, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar", [("k1.mp4", video()), ("k1.json", TALK), ("k2.json", TALK)])
    open_index(str(path), tmp_path)
    index = tmp_path / "t.tar.index"
    whole = index.read_bytes()
    index.write_bytes(whole[:-cut])
    assert len(IndexedShards([str(path)], cache=tmp_path)) == 2
    assert index.read_bytes() == whole
    index.write_bytes(whole + b"{}\n")
    assert len(IndexedShards([str(path)], cache=tmp_path)) == 2


def test_a_cache_that_can_not_be_written_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cache").write_text("a file")
    path = tar_of(folder / "t.tar", [("k1.json", TALK)])
    (folder / "t.tar.index").mkdir()
    with pytest.raises(DataError, match=r"can't be written.*\n.*paths.cache=FOLDER .*--cache FOLDER"):
        open_index(str(path), folder / "cache")
    with pytest.raises(DataError, match=r"can't be written.*\n.*paths.cache=FOLDER .*--cache FOLDER"):
        source(folder, [GOOD])
    os.remove(folder / "cache")


# --- what public lists have


@pytest.mark.parametrize(
    "before",
    [
        [{"from": "gpt", "value": "An answer to nothing."}],
        [{"from": "system", "value": "Be brief."}],
        [{"role": "system", "content": ""}, {"from": "gpt", "value": "Hello."}],
    ],
)
def test_turns_before_the_users_first_are_passed_over(
    before: list, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As LLaVA's code does, which the family trains with; said once."""
    monkeypatch.setattr("vxl.data.fields._SAID", set())
    plain, *_ = parse({"conversations": said()}, [], shard="s", key="k")
    for _ in range(2):
        (sample,) = parse({"conversations": [*before, *said()]}, [], shard="s", key="k")
        assert sample.turns == plain.turns
    assert caplog.text.count("turns before the user's first are passed over") == 1
    with pytest.raises(DataError, match="turn 1"):
        parse({"conversations": before}, [], shard="s", key="k")
    with pytest.raises(DataError, match="turn 3 has the role 'system'"):
        parse({"conversations": [*said(), before[0] | {"from": "system"}]}, [], shard="s", key="k")


def test_lines_of_json_are_read_under_the_ending_of_a_list(tmp_path: Path) -> None:
    items = [{"id": "a\u2028b", "conversations": said()}, {"id": "c", "conversations": said()}]
    lines = "\r\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    (tmp_path / "l.json").write_text(f"\ufeff{lines}\n\n")
    assert read_items(tmp_path / "l.json") == items
    (tmp_path / "l.json").write_text(f"{lines}\n{{")
    with pytest.raises(DataError, match=r"l\.json, line 3, is no JSON"):
        read_items(tmp_path / "l.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[{}]]", "item 1 of 1 is a list, not an object"),
        ('[{}, "a"]', "item 2 of 2 is a string"),
        ("[{}, 1, null]", "item 2 of 3 is a number"),
        ("null", "is null, not a list"),
        ("{}", "is an object, not a list"),
    ],
)
def test_what_is_no_list_of_objects_is_called_by_its_name(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_items(tmp_path / "l.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [("Video", "v.mp4"), ("video_path", "v.mp4"), ("file_name", "i.jpg"), ("clips", ["v.mp4", "w.mp4"])],
)
def test_a_medium_under_an_unknown_key_is_not_passed_over(key: str, value: object, folder: Path) -> None:
    found = source(folder, [{key: value, **talk()}, {"id": "text", "note": "see v.mp4", **talk()}])
    (bad,) = found.known_bad()
    assert f"the key '{key}' names" in bad.reason
    members = list(members_of_json(folder / "list.json", folder))
    assert "only image, images, video, videos are shown" in members[0].bad
    assert found.load(1).media == ()


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400])
@pytest.mark.parametrize("name", ["start", "end", "scale"])
def test_a_number_too_long_for_a_float_is_its_samples_mistake(name: str, number: str, folder: Path) -> None:
    text = json.dumps([{"video": "v.mp4", **talk()}, {"video": "v.mp4", "x": 0, **talk()}])
    (folder / "list.json").write_text(text.replace('"x": 0', f'"{name}": {number}'))
    found = JsonSource(folder / "list.json", folder, cache=folder / "cache")
    assert found.load(0).media
    whole = name == "end" and number.startswith("1")
    assert len(found.known_bad()) == (0 if whole else 1)


# --- a folder of frames


@pytest.fixture
def frames(folder: Path) -> Path:
    """Twelve frames that get brighter, named as many tools do: 10.jpg comes before 2.jpg in the alphabet."""
    (folder / "frames").mkdir()
    for n in range(12):
        Image.new("RGB", (32, 24), (20 * n, 20 * n, 20 * n)).save(folder / "frames" / f"{n}.PNG")
    (folder / "frames" / "notes.txt").write_text("no frame")
    (folder / "frames" / "._0.PNG").write_bytes(b"Mac OS X")
    return folder


def test_a_folder_of_frames_is_a_video_of_the_rate_that_its_item_gives(frames: Path) -> None:
    found = source(frames, [{"video": "frames", "fps": 4, **talk()}])
    loaded = found.load(0)
    (visual,), (media,) = loaded.sample.visuals, loaded.media
    assert (visual.frames, visual.fps, visual.seconds, visual.width, visual.height) == (12, 4.0, 3.0, 32, 24)
    assert isinstance(media, Virtual)
    seen = media.frames([0, 2, 10, 11], None).float().mean(dim=(1, 2, 3))
    assert seen.tolist() == [0.0, 40.0, 200.0, 220.0]


@pytest.mark.parametrize("fps", [None, 0, -1, "2", float("nan"), float("inf"), True])
def test_frames_without_a_rate_have_no_times(fps: object, frames: Path) -> None:
    item = {"video": "frames", **talk()} | ({} if fps is None else {"fps": fps})
    found = source(frames, [item, {"video": "v.mp4", **talk()}])
    (bad,) = found.known_bad()
    assert "fps" in bad.reason


def test_a_frame_that_was_replaced_is_noticed(frames: Path) -> None:
    found = source(frames, [{"video": "frames", "fps": 4, **talk()}])
    Image.new("RGB", (32, 24), "red").save(frames / "frames" / "5.PNG")
    with pytest.raises(DataError, match="was replaced"):
        found.load(0)
    assert source(frames, [{"video": "frames", "fps": 4, **talk()}]).load(0).media


def test_what_a_folder_can_not_be_is_said(frames: Path) -> None:
    (frames / "none").mkdir()
    items = [
        {"image": "frames", **talk()},
        {"video": "none", "fps": 1, **talk()},
        {"video": "v.mp4", **talk()},
    ]
    image_of_it, empty = source(frames, items).known_bad()
    assert '"video": "frames"' in image_of_it.reason
    assert "holds no frames" in empty.reason


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "a page of a server"),
        (b"\n<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a page of a server"),
    ],
)
@pytest.mark.parametrize("kind", ["video", "image"])
def test_what_lies_in_the_place_of_a_medium_is_named(
    kind: str, head: bytes, words: str, folder: Path
) -> None:
    (folder / "x").write_bytes(head)
    found = source(folder, [{kind: "x", **talk()}, {"video": "v.mp4", **talk()}])
    (bad,) = found.known_bad()
    assert words in bad.reason
    with pytest.raises(DataError, match=words):
        (probe if kind == "video" else read_rgb)(head)
    assert "BufferedReader" not in bad.reason
