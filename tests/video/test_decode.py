import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from tests.video.numbered import KINDS, numbers_of
from vxl.errors import ConfigError, DataError
from vxl.video.decode import decode, decode_stream, open_video
from vxl.video.decoder import pyav as decoder_pyav
from vxl.video.decoder.pyav import PyAVReader
from vxl.video.probe import probe
from vxl.video.transform import PixelSpec

Numbered = Callable[[str], Path]
PIXELS = PixelSpec(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def read_straight(path: Path) -> Tensor:
    """All frames, as PyAV gives them to anybody."""
    with av.open(str(path)) as container:
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return torch.stack(frames).permute(0, 3, 1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_exact_however_they_are_reached(
    kind: str, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pyav, "NUMBERING", 0.0)  # so that short files are worth a jump, too
    path = numbered(kind)
    expected_FCHW = read_straight(path)
    frames = len(expected_FCHW)
    first = 10 if kind == "edit_list.mp4" else 0
    assert numbers_of(expected_FCHW) == list(range(first, 120))
    assert probe(path).frames == frames
    chance = random.Random(kind)
    for wanted in [
        [frames - 1],
        [0, frames - 1],
        [0, 24, 48],
        *(chance.sample(range(frames), 3) for _ in range(6)),
    ]:
        assert torch.equal(decode(path, wanted), expected_FCHW[wanted]), wanted
    assert torch.equal(decode(path, range(frames)), expected_FCHW)


@pytest.mark.parametrize(
    "kind",
    [
        "b_frames.mp4",
        "fragmented.mp4",
        "b_frames.mkv",
        "open_gop.mp4",
        "late_start.mp4",
        "vp9.webm",
        "vp8.webm",
        "vp8_hidden.webm",
    ],
)
def test_far_frames_are_reached_by_seeking(
    kind: str, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pyav, "NUMBERING", 0.0)

    def straight(self: PyAVReader, wanted: list[int]) -> Iterator[None]:
        raise AssertionError(f"{wanted} read straight")

    monkeypatch.setattr(PyAVReader, "_straight", straight)
    decode(numbered(kind), [3, 50, 110])


def test_near_frames_are_read_straight_on(numbered: Numbered, monkeypatch: pytest.MonkeyPatch) -> None:
    def index(*arguments: object) -> None:
        raise AssertionError("packets were numbered for nothing")

    path = numbered("b_frames.mp4")
    monkeypatch.setattr(decoder_pyav, "index_frames", index)
    decode(path, range(0, 120, 2))
    decode(path, range(60))


def test_a_file_whose_seeking_fails_half_way_is_still_exact(
    numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pyav, "NUMBERING", 0.0)
    decode_from = PyAVReader._decode_from

    def once(self: PyAVReader, index: object, start: int) -> Iterator[object]:
        if start > 0:
            raise decoder_pyav._LostError("as a broken container would")
        return decode_from(self, index, start)

    monkeypatch.setattr(PyAVReader, "_decode_from", once)
    assert numbers_of(decode(numbered("b_frames.mp4"), [3, 50, 110])) == [3, 50, 110]


def test_order_and_repeats_are_kept(numbered: Numbered) -> None:
    assert numbers_of(decode(numbered("b_frames.mp4"), [90, 3, 3, 47])) == [90, 3, 3, 47]


def test_paths_bytes_and_files_give_the_same(numbered: Numbered) -> None:
    path = numbered("b_frames.mp4")
    data = path.read_bytes()

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with path.open("rb") as file:
        file.seek(100)
        for source in (path, str(path), data, io.BytesIO(data), file, Pipe(data)):
            assert numbers_of(decode(source, [2, 100])) == [2, 100]


def test_a_stream_gives_the_same_frames_one_by_one(numbered: Numbered) -> None:
    path = numbered("b_frames.mkv")
    wanted = [0, 1, 30, 31, 100]
    frames = list(decode_stream(path, wanted, pixels=PIXELS))
    assert torch.equal(torch.stack(frames), decode(path, wanted, pixels=PIXELS))
    with pytest.raises(DataError, match="ascending"):
        next(decode_stream(path, [3, 2]))


def test_a_stream_keeps_no_frames(clips: Path) -> None:
    """1253 frames of 389 kB are 487 MB; the process must not grow by more than a tenth of it."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    path = clips / "sintel_trailer.mp4"
    frames = decode_stream(path, range(probe(path).frames))
    next(frames)
    before = resident()
    most = max(resident() for _ in frames)
    assert most - before < 50e6


def test_a_stream_closes_its_file_when_it_is_left(numbered: Numbered) -> None:
    path = numbered("b_frames.mp4")
    frames = decode_stream(path, range(100))
    next(frames)
    assert _open_files(path) == 1
    frames.close()
    assert _open_files(path) == 0
    decode(path, [5])
    with pytest.raises(DataError):
        decode(path, [500])
    assert _open_files(path) == 0


def _open_files(path: Path) -> int:
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(link.readlink())
        except FileNotFoundError:  # the one that lists this folder
            continue
    return links.count(path)


def test_frames_of_a_turned_phone_are_upright(numbered: Numbered) -> None:
    data = bytearray(numbered("b_frames.mp4").read_bytes())
    upright_FCHW = decode(bytes(data), [7])
    matrix = data.index(b"tkhd") + 44
    quarter_turn = [
        0,
        1 << 16,
        0,
        -1 << 16,
        0,
        0,
        64 << 16,
        0,
        1 << 30,
    ]  # x' = -y + height, y' = x: clockwise
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter_turn)
    turned_FCHW = decode(bytes(data), [7])
    assert turned_FCHW.shape == (1, 3, 96, 64)
    assert torch.equal(turned_FCHW, upright_FCHW.rot90(-1, dims=(2, 3)))


def test_threads_do_not_change_frames(numbered: Numbered) -> None:
    path = numbered("b_frames.mp4")
    assert torch.equal(decode(path, [5, 80], threads=0), decode(path, [5, 80]))


def test_frames_that_are_not_there(numbered: Numbered) -> None:
    path = numbered("b_frames.mp4")
    with pytest.raises(DataError, match="frame 120 is wanted of a video of 120 frames"):
        decode(path, [0, 120])
    with pytest.raises(DataError, match="frame -1 is wanted"):
        decode(path, [-1])
    with pytest.raises(DataError, match="no frames are wanted"):
        decode(path, [])


def test_damage_names_file_and_numbers(numbered: Numbered, tmp_path: Path) -> None:
    data = bytearray(numbered("b_frames.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged.mp4: frame \d+ of 120 is wanted, but it can.t be decoded"):
        decode(path, range(120))


def test_random_damage_never_raises_anything_else(numbered: Numbered) -> None:
    chance = random.Random(0)
    refused = 0
    for kind in ("b_frames.mp4", "b_frames.mkv", "b_frames.ts", "vp9.webm", "b_frames.avi"):
        whole = numbered(kind).read_bytes()
        for _ in range(12):
            data = bytearray(whole)
            for _ in range(chance.choice([1, 30, 200])):
                data[chance.randrange(len(data))] = chance.randrange(256)
            if chance.random() < 0.3:
                del data[chance.randrange(len(data)) :]
            try:
                with open_video(bytes(data)) as reader:
                    list(reader.frames([0, reader.info.frames - 1]))
            except DataError:
                refused += 1
    assert refused > 10


def test_the_decoder_has_to_exist(numbered: Numbered) -> None:
    with pytest.raises(
        ConfigError, match=r"decoder=decord does not exist.\n  choose one of: pyav, opencv, torchcodec"
    ):
        decode(numbered("b_frames.mp4"), [0], decoder="decord")


@pytest.mark.parametrize(("decoder", "module"), [("opencv", "cv2"), ("torchcodec", "torchcodec.decoders")])
def test_other_decoders_name_their_extra(
    decoder: str, module: str, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=rf'pip install "vxl\[{decoder}\]"'):
        decode(numbered("b_frames.mp4"), [0], decoder=decoder)


@pytest.mark.parametrize(("decoder", "module"), [("opencv", "cv2"), ("torchcodec", "torchcodec.decoders")])
@pytest.mark.parametrize("kind", ["b_frames.mp4", "b_frames.mkv", "variable_rate.mp4", "open_gop.mp4"])
def test_other_decoders_give_the_same_frames(
    decoder: str, module: str, kind: str, numbered: Numbered
) -> None:
    pytest.importorskip(module, exc_type=Exception)
    path = numbered(kind)
    wanted = [1, 2, 50, 119]
    for source in (path, path.read_bytes()):
        frames_FCHW = decode(source, wanted, decoder=decoder)
        assert numbers_of(frames_FCHW) == wanted
        assert (frames_FCHW.float() - decode(path, wanted).float()).abs().mean() < 3.0
