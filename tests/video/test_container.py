"""The right stream of a file, the right way up, from any local path."""

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.video.numbered import numbered_frames, numbers_of
from vxl.errors import DataError
from vxl.video.decode import decode
from vxl.video.orientation import Orientation
from vxl.video.probe import probe

Numbered = Callable[[str], Path]


def two_videos(path: Path, default: int | None) -> Path:
    """A small picture stream and a larger one, `default` marked so."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, (width, height) in enumerate([(32, 16), (96, 64)]):
            stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            is_default = number == default
            stream.disposition = av.stream.Disposition.default if is_default else av.stream.Disposition(0)
            streams.append(stream)
        for large_HWC in numbered_frames(30):
            for stream, pixels_HWC in zip(streams, (large_HWC[:16, :32].copy(), large_HWC), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_default_video_is_read(suffix: str, tmp_path: Path) -> None:
    path = two_videos(tmp_path / f"two.{suffix}", default=1)
    assert (probe(path).width, probe(path).height) == (96, 64)
    assert numbers_of(decode(path, [0, 7, 29])) == [0, 7, 29]


@pytest.mark.parametrize("suffix", ["ts", "avi", "mkv"])
def test_the_largest_video_is_read_where_none_is_the_default(suffix: str, tmp_path: Path) -> None:
    """As the `ffmpeg` command does; FFmpeg's library takes the first, or the one of more bits."""
    path = two_videos(tmp_path / f"two.{suffix}", default=None)
    assert (probe(path).width, probe(path).height) == (96, 64)
    assert numbers_of(decode(path, [0, 7, 29])) == [0, 7, 29]


def test_the_default_video_is_read_though_it_is_the_smaller(tmp_path: Path) -> None:
    path = two_videos(tmp_path / "two.mkv", default=0)
    assert (probe(path).width, probe(path).height) == (32, 16)


def test_encrypted_pictures_are_called_so(numbered: Numbered, tmp_path: Path) -> None:
    path = tmp_path / "sold.mp4"
    secret = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "7" * 32, "encryption_kid": "a" * 32}
    with (
        av.open(str(numbered("b_frames.mp4"))) as source,
        av.open(str(path), "w", options=secret) as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    for read in (probe, lambda file: decode(file, [60])):
        for file in (path, path.read_bytes()):
            with pytest.raises(DataError, match="its pictures are encrypted"):
                read(file)


def with_cover(path: Path, *, video: bool, codec: str, numbered: Numbered) -> Path:
    """Sound with a cover, and a video behind it where wanted."""
    form = "mp3" if path.suffix == ".mp3" else "mp4"
    with av.open(str(path), "w", format=form) as container, av.open(str(numbered("b_frames.mp4"))) as source:
        sound = container.add_stream(codec, rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream_from_template(source.streams.video[0]) if video else None
        grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
        container.mux(cover.encode(grey.reformat(format="yuvj420p")))
        container.mux(cover.encode())
        for number in range(20):
            samples = np.zeros((1, 1024), np.float32 if codec == "aac" else np.int16)
            sample_format = "fltp" if codec == "aac" else "s16p"
            frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * number
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
        for packet in source.demux(video=0) if stream is not None else ():
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return path


@pytest.mark.parametrize(("suffix", "codec"), [("mp3", "mp3"), ("m4a", "aac")])
def test_a_cover_is_no_video(suffix: str, codec: str, numbered: Numbered, tmp_path: Path) -> None:
    path = with_cover(tmp_path / f"song.{suffix}", video=False, codec=codec, numbered=numbered)
    with pytest.raises(DataError, match=r"no video in this file.\n  got: a cover picture, audio"):
        probe(path)


def test_a_video_beside_its_cover(numbered: Numbered, tmp_path: Path) -> None:
    path = with_cover(tmp_path / "covered.mp4", video=True, codec="aac", numbered=numbered)
    assert probe(path).frames == 120
    assert numbers_of(decode(path, [3, 100])) == [3, 100]


UNIT, W = 1 << 16, 1 << 30
MATRICES = {
    "as stored": [UNIT, 0, 0, 0, UNIT, 0, 0, 0, W],
    "mirrored left to right": [-UNIT, 0, 0, 0, UNIT, 0, 96 << 16, 0, W],
    "mirrored top to bottom": [UNIT, 0, 0, 0, -UNIT, 0, 0, 64 << 16, W],
    "upside down": [-UNIT, 0, 0, 0, -UNIT, 0, 96 << 16, 64 << 16, W],
    "transposed": [0, UNIT, 0, UNIT, 0, 0, 0, 0, W],
    "clockwise": [0, UNIT, 0, -UNIT, 0, 0, 64 << 16, 0, W],
    "anticlockwise": [0, -UNIT, 0, UNIT, 0, 0, 0, 96 << 16, W],
    "transposed the other way": [0, -UNIT, 0, -UNIT, 0, 0, 64 << 16, 96 << 16, W],
}


@pytest.mark.parametrize("decoder", ["pyav", "opencv", "torchcodec"])
@pytest.mark.parametrize("way", MATRICES)
def test_a_display_matrix_says_which_way_up(
    way: str, decoder: str, numbered: Numbered, tmp_path: Path
) -> None:
    if decoder != "pyav":
        pytest.importorskip({"opencv": "cv2"}.get(decoder, "torchcodec.decoders"), exc_type=Exception)
    data = bytearray(numbered("b_frames.mp4").read_bytes())
    stored_HWC = decode(bytes(data), [7], decoder=decoder)[0].permute(1, 2, 0)
    place = data.index(b"tkhd") + 44
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in MATRICES[way])
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    # Where each stored pixel is shown, by the matrix itself: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d, *_ = (value // UNIT for value in MATRICES[way])
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    expected_HWC = torch.empty(int(y.max()) + 1, int(x.max()) + 1, 3, dtype=torch.uint8)
    expected_HWC[y, x] = stored_HWC
    assert torch.equal(decode(path, [7], decoder=decoder)[0].permute(1, 2, 0), expected_HWC)


def test_mirrors_are_told_from_turns() -> None:
    assert Orientation(True, False, False).mirrored
    assert not Orientation(True, False, True).mirrored
    assert not Orientation(False, True, True).mirrored


@pytest.mark.parametrize("decoder", ["pyav", "opencv", "torchcodec"])
@pytest.mark.parametrize(
    "name",
    [
        "14:05:22.mp4",
        "S01E02:intro.mp4",
        "data:clip.mp4",
        "concat:x.mp4",
        "file:x.mp4",
        "pipe:0",
        "a%03d #?.mp4",
    ],
)
def test_a_path_is_a_path(
    name: str, decoder: str, numbered: Numbered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if decoder != "pyav":
        pytest.importorskip({"opencv": "cv2"}.get(decoder, "torchcodec.decoders"), exc_type=Exception)
    (tmp_path / name).write_bytes(numbered("b_frames.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert probe(name).frames == 120
    assert numbers_of(decode(name, [3, 110], decoder=decoder)) == [3, 110]
    assert numbers_of(decode(Path(name), [3, 110], decoder=decoder)) == [3, 110]
    os.remove(name)
    with pytest.raises(DataError, match="no such file"):
        probe(name)
