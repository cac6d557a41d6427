"""Frames that are kept on disk: the very frames, whatever becomes of the entries."""

import errno
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from tests.failing_disk import failing_disk
from tests.forks import in_three_forks
from tests.video.numbered import numbers_of, write
from vxl import store
from vxl.errors import DataError
from vxl.store import in_use, use
from vxl.units import GIB
from vxl.video import decode as decoding
from vxl.video.decode import decode, decode_stream, open_video, read
from vxl.video.frame_cache import Entry, FrameCache, frames_kept
from vxl.video.load import load_video, stream_video
from vxl.video.sample import Uniform, UniformConfig
from vxl.video.transform import PixelSpec
from vxl.video.virtual import Part, Segments

PIXELS = PixelSpec(31, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CROPPED = PixelSpec(31, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "shortest_crop")
Numbered = Callable[[str], Path]
T = TypeVar("T")


@pytest.fixture
def kept(tmp_path: Path):
    """A cache in use; gives its folder."""
    with frames_kept("frames", tmp_path / "cache", 1.0):
        yield tmp_path / "cache" / "frames"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, no video is opened any more."""

    def close() -> None:
        def opened(self: object) -> None:
            raise AssertionError("a video is opened")

        monkeypatch.setattr(decoding.KeptReader, "opened", opened)

    return close


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.frames"))


def short(folder: Path, name: str = "short.mp4", frames: int = 20) -> Path:
    return write(folder / name, "libx264", {"g": "5"}, frames=frames)


def without(read_frames: Callable[[], T]) -> T:
    with frames_kept("none", "", 1.0):
        return read_frames()


@pytest.mark.parametrize("kind", ["open_gop.mp4", "b_frames.ts", "vp9.webm"])
def test_kept_frames_are_those_of_the_video(kind: str, numbered: Numbered, kept: Path, closed) -> None:
    path = numbered(kind)
    wanted = [[0, 7, 33, 60], [60, 7, 7], list(range(100))]
    expected = [without(lambda w=w: decode(path, w, pixels=CROPPED)) for w in wanted]
    assert all(torch.equal(decode(path, w, pixels=CROPPED), e) for w, e in zip(wanted, expected, strict=True))
    assert len(entries(kept)) == 3
    closed()
    for w, e in zip(wanted, expected, strict=True):
        assert torch.equal(decode(path, w, pixels=CROPPED), e)
        assert torch.equal(decode(path.read_bytes(), w, pixels=CROPPED), e)
        with path.open("rb") as file:
            assert torch.equal(decode(file, w, pixels=CROPPED), e)


def test_all_ways_of_reading_share_the_entries(numbered: Numbered, kept: Path, closed) -> None:
    path, sampler = str(numbered("b_frames.mp4")), Uniform(UniformConfig(max_frames=70))
    loaded = load_video(path, sampler, PIXELS)
    assert torch.equal(loaded.frames_FCHW, without(lambda: load_video(path, sampler, PIXELS).frames_FCHW))
    closed()
    stream = stream_video(path, sampler, PIXELS, piece=9)
    assert (stream.seconds, stream.info) == (loaded.seconds, loaded.info)
    assert torch.equal(torch.cat(list(stream.pieces)), loaded.frames_FCHW)
    numbers = sampler.select(loaded.info.frames, loaded.info.fps).indices
    assert torch.equal(torch.stack(list(decode_stream(path, numbers, pixels=PIXELS))), loaded.frames_FCHW)
    assert len(entries(kept)) == 1


def test_a_short_video_is_kept_whole_for_whatever_is_asked_of_it(tmp_path: Path, kept: Path, closed) -> None:
    path = short(tmp_path)
    all_FCHW = without(lambda: decode(path, range(20), pixels=PIXELS))
    assert torch.equal(decode(path, [11], pixels=PIXELS), all_FCHW[[11]])
    closed()
    assert torch.equal(decode(path, [3, 5, 19], pixels=PIXELS), all_FCHW[[3, 5, 19]])
    (entry,) = entries(kept)
    sums = np.array([zlib.crc32(frame.numpy()) for frame in all_FCHW], np.uint32)
    assert entry.read_bytes() == all_FCHW.numpy().tobytes() + sums.tobytes()


def test_sizes_are_told_apart_and_normalisation_is_not(tmp_path: Path, kept: Path) -> None:
    path = short(tmp_path)
    for pixels in (
        PIXELS,
        CROPPED,
        PixelSpec(30, PIXELS.mean, PIXELS.std),
        PixelSpec(31, (0, 0, 0), (1, 1, 1)),
    ):
        kept_FCHW = decode(path, [2], pixels=pixels)
        assert torch.equal(kept_FCHW, without(lambda p=pixels: decode(path, [2], pixels=p)))
    assert len(entries(kept)) == 3
    decode(path, [2], pixels=None)
    assert len(entries(kept)) == 3


def test_parts_of_files_are_kept_too(tmp_path: Path, numbered: Numbered, kept: Path, closed) -> None:
    parts = (Part(str(short(tmp_path)), 0.2, 0.5), Part(str(numbered("vp9.webm")), 1.0, 2.0))
    video = Segments(parts, 25.0, 96, 64)
    expected = without(lambda: video.frames(range(3, 60, 4), PIXELS))
    assert torch.equal(video.frames(range(3, 60, 4), PIXELS), expected)
    closed()
    assert torch.equal(video.frames(range(3, 60, 4), PIXELS), expected)


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "changed", "sums"])
def test_a_damaged_entry_is_made_anew(
    damage: str, tmp_path: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = short(tmp_path)
    expected = decode(path, [4, 9], pixels=PIXELS)
    (entry,) = entries(kept)
    data = entry.read_bytes()
    place = 9 * 3 * 31 * 31 + 100 if damage == "changed" else len(data) - 4 * 16
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    entry.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"\0"}.get(damage, changed))
    assert torch.equal(decode(path, [4, 9], pixels=PIXELS), expected)
    assert "is damaged: it is made anew" in caplog.text
    assert entry.read_bytes() == data
    caplog.clear()
    assert torch.equal(torch.stack(list(decode_stream(path, [4, 9], pixels=PIXELS))), expected)
    assert caplog.text == ""


def test_an_entry_that_is_damaged_behind_what_a_stream_gave(numbered: Numbered, kept: Path) -> None:
    path = numbered("b_frames.mp4")
    expected = torch.stack(list(decode_stream(path, range(110), pixels=PIXELS)))
    (entry,) = entries(kept)
    data = bytearray(entry.read_bytes())
    data[100 * 3 * 31 * 31] ^= 1
    entry.write_bytes(data)
    assert torch.equal(torch.stack(list(decode_stream(path, range(110), pixels=PIXELS))), expected)


def test_what_is_done_to_frames_does_not_reach_the_entry(numbered: Numbered, kept: Path) -> None:
    path = numbered("b_frames.mp4")
    expected = decode(path, range(0, 120, 10), pixels=PIXELS).clone()
    decode(path, range(0, 120, 10), pixels=PIXELS).zero_()
    for frame_CHW in decode_stream(path, range(0, 120, 10), pixels=PIXELS):
        frame_CHW.zero_()
    assert torch.equal(decode(path, range(0, 120, 10), pixels=PIXELS), expected)


@pytest.mark.parametrize("frames", [20, 120])
def test_a_replaced_video_is_noticed(frames: int, tmp_path: Path, kept: Path) -> None:
    path, other = short(tmp_path, frames=frames), short(tmp_path, "other.mp4", frames + 1)
    decode(path, [4], pixels=PIXELS)
    os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
    other.replace(path)
    assert numbers_of(decode(path, [frames])) == [frames]
    expected = without(lambda: decode(path, [4, frames], pixels=PIXELS))
    assert torch.equal(decode(path, [4, frames], pixels=PIXELS), expected)


def test_a_long_file_that_is_written_to_in_its_middle_is_another(tmp_path: Path) -> None:
    path = tmp_path / "long.bin"
    path.write_bytes(bytes(3 << 20))
    before = decoding.identity_of(path)
    with path.open("r+b") as file:
        file.seek(70_000)
        file.write(b"x")
    os.utime(path, ns=(1, 1))
    assert decoding.identity_of(path) != before
    assert decoding.identity_of(tmp_path / "absent") is None


def test_a_video_replaced_while_it_is_read_is_not_kept(tmp_path: Path, kept: Path) -> None:
    path, other = short(tmp_path, frames=70), short(tmp_path, "other.mp4", 30)
    with open_video(path) as reader:
        decoded = decoding._sized(
            reader, np.array([3, 4]), PIXELS, decoding._entry(reader, np.array([3, 4]), PIXELS)
        )
        next(decoded)
        other.replace(path)
        assert len(list(decoded)) == 1
    assert entries(kept) == []


def test_a_stream_that_is_not_read_to_its_end_leaves_nothing(numbered: Numbered, kept: Path) -> None:
    stream = decode_stream(numbered("b_frames.mp4"), range(120), pixels=PIXELS)
    next(stream)
    stream.close()
    assert [path.name for path in kept.rglob("*") if path.is_file() and path.name[0] != "."] == []
    assert list(kept.rglob("*.part")) == []


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_damaged_videos_show_what_they_show_without(codec: str, tmp_path: Path, kept: Path) -> None:
    whole = write(tmp_path / "whole.mkv", codec, {"g": "12", "bf": "2"}, frames=40).read_bytes()
    chance = random.Random(0)

    def outcome(data: bytes, wanted: list[int]) -> object:
        try:
            return decode(data, wanted, pixels=PIXELS, name="it").tolist()
        except DataError as error:
            return str(error)

    for _ in range(4):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 20])):
            data[chance.randrange(len(data) // 10, len(data))] = chance.randrange(256)
        for wanted in ([30], [3, 30], [39], list(range(40)), [31]):
            expected = without(lambda d=bytes(data), w=wanted: outcome(d, w))
            assert outcome(bytes(data), wanted) == expected
            assert outcome(bytes(data), wanted) == expected


def test_the_limit_holds_and_the_oldest_makes_room(tmp_path: Path) -> None:
    paths = [short(tmp_path, f"{n}.mp4", 10 + n) for n in range(6)]
    with frames_kept("frames", tmp_path / "cache", 45 * 3 * 31 * 31 / GIB):
        cache = in_use(FrameCache)
        assert cache is not None
        for age, path in enumerate(paths[:4]):
            decode(path, [0], pixels=PIXELS)
            newest = max(entries(cache.folder), key=lambda entry: entry.stat().st_ctime_ns)
            os.utime(newest, (1000 + age, 1000 + age))
            assert sum(entry.stat().st_size for entry in entries(cache.folder)) <= cache.limit
        held = {entry.stat().st_mtime for entry in entries(cache.folder)}
        assert held == {1001, 1002, 1003}
        decode(paths[1], [0], pixels=PIXELS)  # used: not the oldest any more
        decode(paths[4], [0], pixels=PIXELS)
        assert sum(entry.stat().st_size for entry in entries(cache.folder)) <= cache.limit
        held = {entry.stat().st_mtime for entry in entries(cache.folder)}
        assert held - {1003.0} == held.difference([1001.0, 1002.0, 1003.0])
        assert len(held) == 3


def test_what_is_larger_than_the_limit_is_not_kept(
    numbered: Numbered, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with frames_kept("frames", tmp_path / "cache", 1e5 / GIB):
        decode(numbered("b_frames.mp4"), range(120), pixels=PIXELS)
    assert entries(tmp_path) == []
    assert "larger than the limit" in caplog.text


@pytest.mark.parametrize("note", [b"", b"5", b"\xff" * 20, f"{10**15:020d}".encode()])
def test_the_note_of_how_much_is_kept_may_be_wrong(note: bytes, tmp_path: Path) -> None:
    path = short(tmp_path)
    with frames_kept("frames", tmp_path / "cache", 50 * 3 * 31 * 31 / GIB):
        (tmp_path / "cache" / "frames").mkdir(parents=True)
        (tmp_path / "cache" / "frames" / ".bytes").write_bytes(note)
        decode(path, [0], pixels=PIXELS)
    (entry,) = entries(tmp_path)
    assert int((tmp_path / "cache" / "frames" / ".bytes").read_text()) == entry.stat().st_size


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_costs_the_entry_and_nothing_else(
    number: int, tmp_path: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = short(tmp_path)
    expected = without(lambda: decode(path, [4, 9], pixels=PIXELS))
    kept.mkdir(parents=True)
    store._warn_once.cache_clear()
    with failing_disk(kept, 1.0, number):
        assert torch.equal(decode(path, [4, 9], pixels=PIXELS), expected)
        assert torch.equal(decode(path, [5, 9], pixels=PIXELS)[1:], expected[1:])
    assert entries(kept) == []
    assert caplog.text.count("can't be kept") == 1


def test_what_is_being_written_counts(kept: Path) -> None:
    """Entries that several processes had begun were counted by none of them, and all stayed."""
    numbers_N = np.arange(10)
    size = Entry(FrameCache(kept, 1.0), "any", PIXELS, numbers_N).records.size
    cache = FrameCache(kept, 2.5 * size / GIB)
    frames = [torch.zeros(1, 3, PIXELS.size, PIXELS.size, dtype=torch.uint8)] * 10
    writing = [
        Entry(cache, f"video {n}", PIXELS, numbers_N).written(iter(frames), lambda: True) for n in range(4)
    ]
    for one in writing:
        next(one)
    for one in writing:
        assert len(list(one)) == 9
    assert sum(entry.stat().st_size for entry in entries(kept)) == 2 * size
    assert list(kept.rglob("*.part")) == []


def test_several_processes_write_and_read_at_once(tmp_path: Path, kept: Path) -> None:
    paths = [short(tmp_path, f"{n}.mp4", 10 + n) for n in range(4)]
    expected = [without(lambda p=path: decode(p, range(9), pixels=PIXELS)) for path in paths]
    cache = FrameCache(kept, 25 * 3 * 31 * 31 / GIB)  # so that they remove each other's

    def many(turn: int) -> None:
        use(FrameCache, cache)
        for n in np.random.default_rng(turn).integers(4, size=25):
            assert torch.equal(decode(paths[n], range(9), pixels=PIXELS), expected[n])

    in_three_forks(many)
    assert sum(entry.stat().st_size for entry in entries(kept)) <= cache.limit
    assert list(kept.rglob("*.part")) == []


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert in_use(FrameCache) is None
    with frames_kept("none", tmp_path / "cache", 1.0):
        decode(short(tmp_path), [0], pixels=PIXELS)
        assert not isinstance(open_video(tmp_path / "short.mp4"), decoding.KeptReader)
    assert not (tmp_path / "cache").exists()


def test_errors_are_those_of_the_decoder(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "words.mp4").write_text("no video")
    for path in (tmp_path / "words.mp4", tmp_path / "absent.mp4"):
        with pytest.raises(DataError) as raised:
            decode(path, [0], pixels=PIXELS)
        with frames_kept("none", "", 1.0), pytest.raises(DataError) as expected:
            decode(path, [0], pixels=PIXELS)
        assert str(raised.value) == str(expected.value)
    with open_video(short(tmp_path)) as reader, pytest.raises(DataError, match="frame 20 is wanted"):
        read(reader, [20], PIXELS)
