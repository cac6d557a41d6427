"""Writing shards."""

import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.data.media import image, talk, video, write, write_json
from vxl.atomic import whole_file
from vxl.data.source.urls import expand_urls
from vxl.data.write.lint import wrong_members
from vxl.data.write.shards import ShardWriter, TarMember, members_of_folder, members_of_json, write_shards
from vxl.errors import DataError
from vxl.video.decode import open_video, read
from vxl.video.probe import probe


def names(path):
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_equal_members_give_equal_bytes(tmp_path):
    first, second = write(tmp_path / "a", 5)[0], write(tmp_path / "b", 5)[0]
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert {(info.mtime, info.uid, info.uname) for info in tar} == {(0, 0, "")}


def test_tars_stay_below_the_limit(tmp_path):
    members = [TarMember(f"k{n}", {"txt": bytes(1000)}) for n in range(10)]
    paths = write_shards(members, tmp_path, "t-{:02d}.tar", max_bytes=5000)
    assert [path.name for path in paths] == [f"t-{n:02d}.tar" for n in range(4)]
    assert [len(names(path)) for path in paths] == [3, 3, 3, 1]


def test_a_tar_is_there_only_when_it_is_complete(tmp_path):
    def broken():
        yield TarMember("a", {"json": talk()})
        assert not [name for name in os.listdir(tmp_path) if not name.startswith(".")]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(broken(), tmp_path)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_writer_left_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    (tmp_path / ".shard-000000.tar.0123abcd.part").write_text("half")
    with whole_file(tmp_path / "shard-000000.tar") as part:
        write_shards([TarMember("a", {"json": talk()})], tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted([part.name, "shard-000000.tar"])


def test_refuses_to_write_over_shards_and_replaces_them_when_told(tmp_path):
    members = [TarMember(f"k{n}", {"txt": bytes(1000)}) for n in range(3)]
    write_shards(members, tmp_path, max_bytes=1)
    with pytest.raises(DataError, match=r"holds shards already, shard-000000\.tar first"):
        write_shards(members, tmp_path)
    write_shards(members, tmp_path, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["shard-000000.tar"]


MEMBERS = [TarMember(f"k{n}", {"txt": bytes(1000)}) for n in range(4)]


def killed_at(monkeypatch, move):
    """A writer ends at its Nth move, as by a kill: nothing is tidied up."""
    moves, replace = [], Path.replace

    def counted(path, target):
        if str(target).endswith(".tar"):
            moves.append(target)
            if len(moves) == move:
                os._exit(9)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", counted)


def in_a_process(call):
    child = os.fork()
    if child == 0:
        call()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_writer_that_is_killed_leaves_the_set_that_was_there(tmp_path):
    write_shards(MEMBERS, tmp_path, max_bytes=1)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")}

    def killed():
        def members():
            yield from MEMBERS[:2]
            os._exit(9)

        write_shards(members(), tmp_path, max_bytes=1, overwrite=True)

    assert in_a_process(killed) == 9
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")} == before
    assert len(expand_urls(str(tmp_path))) == 4
    write_shards(MEMBERS[:1], tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == ["shard-000000.tar"]


@pytest.mark.parametrize("old", [0, 1, 4])
@pytest.mark.parametrize("move", [1, 2, 3])
def test_a_set_that_is_half_in_its_place_is_not_read_and_is_written_again(tmp_path, monkeypatch, old, move):
    if old:
        write_shards(MEMBERS[:old], tmp_path, max_bytes=1)
    with monkeypatch.context() as patch:
        killed_at(patch, move)
        assert (
            in_a_process(lambda: write_shards(MEMBERS[:3], tmp_path, max_bytes=1, overwrite=bool(old))) == 9
        )
    if (tmp_path / "shard-000000.tar").exists():
        for urls in (str(tmp_path), f"{tmp_path}/*.tar", f"{tmp_path}/shard-000000.tar"):
            with pytest.raises(DataError, match="are no whole set"):
                expand_urls(urls)
    write_shards(MEMBERS[:3], tmp_path, max_bytes=1)
    assert len(expand_urls(str(tmp_path))) == 3
    assert sorted(os.listdir(tmp_path)) == [f"shard-00000{n}.tar" for n in range(3)]


@pytest.mark.parametrize(
    ("key", "words"), [("a.b", "without dots"), ("", "can't have the key ''"), ("k", "comes twice")]
)
def test_keys_that_can_not_be(tmp_path, key, words):
    with ShardWriter(tmp_path) as writer:
        writer.write("k", {"txt": "x"})
        with pytest.raises(DataError, match=words):
            writer.write(key, {"txt": "x"})


def test_from_a_folder(tmp_path):
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    (folder / "my.clip.mp4").write_bytes(video())
    (folder / "my.clip.txt").write_text("brighter")
    for n in (0, 1):
        (folder / "sub" / f"pair.{n}.jpg").write_bytes(image())
    write_json(folder / "sub" / "pair.json", talk())
    (folder / "readme.md").write_text("no member")
    path = write_shards(members_of_folder(folder), tmp_path / "out")[0]
    assert names(path) == ["my_clip.mp4", "my_clip.txt", "sub/pair.0.jpg", "sub/pair.1.jpg", "sub/pair.json"]
    with pytest.raises(DataError, match="is no folder"):
        list(members_of_folder(folder / "none"))


def test_a_folder_of_frames_becomes_a_video_of_its_rate(tmp_path):
    for n in range(6):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.new("RGB", (33, 24), (40 * n, 100, 250 - 40 * n)).save(tmp_path / "frames" / f"{n + 9}.png")
    item = {"id": "a", "video": "frames", "conversations": talk()["conversations"]}
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    Image.new("RGB", (33, 24)).save(mixed / "1.png")
    Image.new("RGB", (24, 33)).save(mixed / "2.png")
    items = [
        item | {"fps": 2},
        item | {"id": "no rate"},
        item | {"id": "image", "fps": 2, "image": item["video"], "video": None},
        item | {"id": "mixed", "fps": 2, "video": "mixed"},
    ]
    members = list(members_of_json(write_json(tmp_path / "list.json", items), tmp_path))
    bad = wrong_members(members, "list.json")
    assert '"fps": 2' in bad[1]
    assert "is a folder" in bad[2]
    assert f"{mixed} can't become a video: frame 1 is (33, 24, 3), the first (24, 33, 3)" in bad[3]
    assert len(bad) == 3
    (tar,) = write_shards(members[:1], tmp_path / "out")
    assert names(tar) == ["a.mp4", "a.json"]
    with tarfile.open(tar) as opened:
        mp4, text = (opened.extractfile(name).read() for name in ("a.mp4", "a.json"))
    assert "fps" not in json.loads(text)
    info = probe(mp4)
    assert (info.frames, info.fps, info.seconds) == (6, 2.0, 3.0)
    with open_video(mp4) as reader:
        shown_FCHW = read(reader, range(6), None)
    for n, frame_CHW in enumerate(shown_FCHW.int()):
        assert (frame_CHW.flatten(1).T - frame_CHW.new_tensor([40 * n, 100, 250 - 40 * n])).abs().max() <= 4


def test_from_a_json_list(tmp_path):
    (tmp_path / "v.mp4").write_bytes(video())
    (tmp_path / "i.jpg").write_bytes(image())
    items = [
        {"id": "x.1", "video": "v.mp4", **talk()},
        {"id": 2, "image": ["i.jpg", "i.jpg"], **talk()},
        talk(),
    ]
    path = write_shards(members_of_json(write_json(tmp_path / "l.json", items), tmp_path), tmp_path / "out")[
        0
    ]
    assert names(path) == ["x_1.mp4", "x_1.json", "2.0.jpg", "2.1.jpg", "2.json", "item-2.json"]


@pytest.mark.parametrize("path", ["../private.jpg", "sub/../../private.jpg", "absolute"])
def test_a_list_packs_nothing_from_outside_the_folder_of_media(tmp_path, path):
    (tmp_path / "media").mkdir()
    for place in (tmp_path / "private.jpg", tmp_path / "media" / "own.jpg"):
        place.write_bytes(image())
    path = str(tmp_path / "private.jpg") if path == "absolute" else path
    own = str(tmp_path / "media" / "own.jpg")  # absolute, and inside
    items = [{"id": name, "image": place, **talk()} for name, place in (("theirs", path), ("own", own))]
    file = write_json(tmp_path / "list.json", items)
    members = list(members_of_json(file, tmp_path / "media"))
    bad = wrong_members(members, "list.json")
    assert list(bad) == [0]
    assert f"{path!r} lies outside {tmp_path / 'media'}, and is not packed" in bad[0]
    assert members[0].files == {}
