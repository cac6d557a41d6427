"""A number is the picture that a decoder shows, whatever else is asked for: cut, tapped and damaged files."""

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from tests.video.numbered import numbers_of, remux, squares_of
from vxl.errors import DataError
from vxl.video.decode import decode
from vxl.video.decoder import pyav as decoder_pyav
from vxl.video.load import load_video
from vxl.video.probe import probe
from vxl.video.sample import Uniform, UniformConfig

Numbered = Callable[[str], Path]
FILES = Path(__file__).parent / "files"


def shown(path: Path) -> Tensor:
    """All frames, as PyAV's decoder shows them; what it can't decode is left out."""
    frames = []
    with av.open(f"file:{path}") as container:
        for packet in container.demux(video=0):
            with contextlib.suppress(av.InvalidDataError):
                frames += [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in packet.decode()]
    return torch.stack(frames).permute(0, 3, 1, 2)


def assert_one_number_is_one_picture(path: Path, expected_FCHW: Tensor, decoder: str = "pyav") -> None:
    frames = len(expected_FCHW)
    assert probe(path).frames == frames
    assert torch.equal(decode(path, range(frames), decoder=decoder), expected_FCHW)
    chance = random.Random(path.name)
    for wanted in ([frames - 1], [0, frames - 1], *(chance.sample(range(frames), 3) for _ in range(6))):
        assert torch.equal(decode(path, wanted, decoder=decoder), expected_FCHW[wanted]), wanted


@pytest.fixture(params=["pyav", "opencv", "torchcodec"])
def decoder(request: pytest.FixtureRequest) -> str:
    """Each decoder that is installed."""
    if request.param != "pyav":
        pytest.importorskip({"opencv": "cv2"}.get(request.param, "torchcodec.decoders"), exc_type=Exception)
    return request.param


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("h264og_cut.mkv", range(24, 120)),  # cut out of an open GOP: its first packets need frames before it
        ("nonkey.mp4", range(24, 120)),  # tapped: the first key frame comes after 14 packets
    ],
)
def test_a_cut_file_begins_with_what_is_shown(
    name: str, numbers: range, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pyav, "NUMBERING", 0.0)
    path = FILES / name
    info = probe(path)
    assert (info.frames, info.fps, info.seconds) == (96, 25.0, 3.84)
    assert squares_of(decode(path, range(96), decoder=decoder)) == list(numbers)
    assert squares_of(decode(path, [20, 50, 80], decoder=decoder)) == [numbers[n] for n in (20, 50, 80)]
    loaded = load_video(path, Uniform(UniformConfig(max_frames=5)), None)
    assert squares_of(loaded.frames_FCHW) == [24, 47, 71, 95, 119]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
@pytest.mark.parametrize("kind", ["b_frames.mp4", "open_gop.mp4"])
def test_the_first_packets_are_missing(
    suffix: str, kind: str, numbered: Numbered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pyav, "NUMBERING", 0.0)
    path = remux(numbered(kind), tmp_path / f"tapped.{suffix}", lambda number, _: number >= 10)
    if suffix == "ts" and kind == "open_gop.mp4":  # what the decoder needs stood in the first packet alone
        with pytest.raises(DataError, match="0 frames in its video stream"):
            probe(path)
        return
    expected_FCHW = shown(path)
    assert numbers_of(expected_FCHW)[-1] == 119
    assert_one_number_is_one_picture(path, expected_FCHW)


def test_hevc_that_begins_with_pictures_it_can_not_show(numbered: Numbered, tmp_path: Path) -> None:
    keys = [0]

    def behind_the_second_key(number: int, packet: av.Packet) -> bool:
        keys[0] += packet.is_keyframe
        return keys[0] >= 2

    path = remux(numbered("hevc.mp4"), tmp_path / "cut.mkv", behind_the_second_key)
    expected_FCHW = shown(path)
    with av.open(str(path)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert packets > len(expected_FCHW), "this file is to have packets that can't be decoded"
    assert_one_number_is_one_picture(path, expected_FCHW)


def test_pictures_that_are_not_coded(decoder: str) -> None:
    path = FILES / "nvop_mid.avi"
    info = probe(path)
    assert info.frames == 84
    assert info.times_F is not None
    assert info.times_F[[29, 30, 83]] == pytest.approx([29 / 25, 40 / 25, 94 / 25])
    last = decode(path, [83], decoder=decoder)
    assert squares_of(last) == [94]
    assert torch.equal(decode(path, range(84), decoder=decoder)[83:], last)


def test_vp9_reference_frames_in_packets_of_their_own(numbered: Numbered, tmp_path: Path) -> None:
    path = tmp_path / "split.nut"
    with av.open(str(numbered("vp9.webm"))) as container, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.is_keyframe and packet.pts:
                data = bytearray(bytes(packet))
                data[0] &= ~0x02  # show_frame
                reference = av.Packet(bytes(data))
                reference.pts = reference.dts = packet.pts - 5
                reference.time_base, reference.is_keyframe, reference.stream = packet.time_base, True, stream
                copy.mux(reference)
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 120
    assert numbers_of(decode(path, range(120))) == list(range(120))
    assert_one_number_is_one_picture(path, shown(path))


@pytest.mark.parametrize("kind", ["b_frames.mp4", "hevc.mp4", "b_frames.mkv", "vp9.webm", "mpeg4.avi"])
@pytest.mark.parametrize("place", [24, 37])
def test_behind_damage_a_number_is_its_picture_or_an_error(
    kind: str, place: int, numbered: Numbered, tmp_path: Path
) -> None:
    whole = numbered(kind)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0)]
    begin = data.index(packets[place])
    data[begin : begin + len(packets[place])] = bytes(len(packets[place]))
    path = tmp_path / f"damaged{whole.suffix}"
    path.write_bytes(data)
    for wanted in (range(120), [*range(60, 120)], [2, 70, 110], [119]):
        got = numbers_or_error(path, wanted)
        if isinstance(got, str):
            assert "can't be decoded" in got
        else:
            wrong = [(number, read) for number, read in zip(wanted, got, strict=True) if number != read]
            assert all(20 <= number < 60 for number, _ in wrong), wrong


def numbers_or_error(path: Path, wanted: Sequence[int]) -> list[int] | str:
    """What numbers the frames spell, or why they can't be read."""
    try:
        return numbers_of(decode(path, wanted))
    except DataError as error:
        return str(error)


def test_a_lost_key_frame_of_hevc() -> None:
    path = FILES / "cor_hevc_zero_30.mp4"
    assert squares_of(decode(path, range(29))) == list(range(29))
    assert squares_of(decode(path, [0, 10, 60, 110, 119])) == [0, 10, 60, 110, 119]
    with pytest.raises(DataError, match="frame 29 of 120 is wanted, but it can't be decoded"):
        decode(path, range(120))


def test_interlaced_video(decoder: str) -> None:
    path = FILES / "inter420.mp4"
    assert probe(path).frames == 120
    if decoder == "opencv" and __import__("cv2").__version__ == "5.0.0":  # black frames, and says success
        with pytest.raises(DataError, match=r"OpenCV 5.0.0 gives another picture than FFmpeg for frame 0"):
            decode(path, [0, 40, 100], decoder=decoder)
        return
    assert squares_of(decode(path, [0, 40, 100], decoder=decoder)) == [0, 40, 100]
