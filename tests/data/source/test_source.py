"""Sources over indices: shards, and a JSON list with a folder."""

import pickle

import pytest

from tests.data.media import image, talk, video, write
from vxl.data.source.ranges import GoneError
from vxl.data.source.source import IndexedShards, SampleSource
from vxl.data.write.shards import TarMember, write_shards
from vxl.errors import DataError


def test_samples_of_several_shards_by_number(tmp_path):
    write(tmp_path, 10, shards=3)
    source = IndexedShards(str(tmp_path), cache=tmp_path)
    assert isinstance(source, SampleSource)
    assert len(source) == 10
    keys = [source.record(n).key for n in range(10)]
    assert keys == [f"s{n:04d}" for shard in range(3) for n in range(shard, 10, 3)]
    assert source.where(4) == (str(tmp_path / "s-1-000.tar"), "s0001")
    assert pickle.loads(pickle.dumps(source)).record(9) == source.record(9)


def test_loads_media_by_offset(tmp_path):
    members = [
        TarMember("a", {"mp4": video(), "json": talk()}),
        TarMember("b", {"1.jpg": image(5, 5), "0.jpg": image(), "json": talk()}),
        TarMember("c", {"json": talk()}),
    ]
    write_shards(members, tmp_path)
    source = IndexedShards(str(tmp_path), cache=tmp_path)
    assert source.load(0).media == (video(),)
    assert source.load(1).media == (image(), image(5, 5))
    assert source.load(2).media == ()
    assert source.load(2).sample.visuals == ()


def test_long_members_are_files_to_seek_in(tmp_path, monkeypatch):
    import vxl.data.source.source as module
    from vxl.video.probe import probe

    write_shards([TarMember("a", {"mp4": video(), "json": talk()})], tmp_path)
    real = module.open_range
    monkeypatch.setattr(module, "open_range", lambda *args: real(*args, whole=100))
    media = IndexedShards(str(tmp_path), cache=tmp_path).load(0).media[0]
    assert not isinstance(media, bytes)
    assert probe(media).frames == 8


def test_bad_members_are_known_and_raise_with_their_place(tmp_path, caplog):
    members = [TarMember("a", {"json": talk()}), TarMember("b", {"json": {"id": 1}})]
    path = str(write_shards(members, tmp_path)[0])
    source = IndexedShards(path, cache=tmp_path)
    assert [(bad.shard, bad.key) for bad in source.known_bad()] == [(path, "b")]
    assert "1 of the 2 samples" in caplog.text
    with pytest.raises(DataError, match="got the keys: id"):
        source.record(1)
    assert source.where(1) == (path, "b")


def test_nothing_that_can_be_used(tmp_path):
    write_shards([TarMember("b", {"json": {"id": 1}})], tmp_path)
    with pytest.raises(
        DataError, match=r"no sample of .* can be used, of 1 in all; the first:\n.*sample 'b'"
    ):
        IndexedShards(str(tmp_path), cache=tmp_path)


def test_where_a_sample_was_is_said_even_when_its_shard_and_index_are_gone(tmp_path):
    write(tmp_path, 2, shards=1)
    source = IndexedShards(str(tmp_path), cache=tmp_path)
    for file in tmp_path.glob("*.tar*"):
        file.unlink()
    with pytest.raises(GoneError, match="is not there any more"):
        source.load(1)
    assert source.where(1) == (str(tmp_path / "s-0-000.tar"), "number 1")
