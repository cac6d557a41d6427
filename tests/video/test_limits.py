"""What a header may declare: nothing is allocated for more frames, seconds or pixels than a file can have."""

import contextlib
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import av
import numpy as np
import pytest

from tests.data.media import video
from vxl.data.sample import Visual
from vxl.data.source.headers import describe_media
from vxl.errors import DataError
from vxl.video.frame_times import pack_times, unpack_times
from vxl.video.image import read_rgb
from vxl.video.limits import MOST_FRAMES, refuse_table
from vxl.video.load import load_video
from vxl.video.probe import probe
from vxl.video.sample import Fps, FpsConfig, Uniform, UniformConfig

SAMPLER = Uniform(UniformConfig(max_frames=4))


def declaring(frames: int) -> bytes:
    """A video of eight frames whose table declares more, all of one byte."""
    data = bytearray(video())
    at = data.index(b"stsz") + 8
    data[at : at + 8] = struct.pack(">II", 1, frames)
    return bytes(data)


def in_pieces(frames: int, behind: int = 0) -> bytes:
    """A video of eight frames in pieces, the last of which declares more frames, none with a size of its own.

    Args:
        frames: What it declares.
        behind: How many boxes of nothing stand before the piece.
    """
    written = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with (
        av.open(io.BytesIO(video())) as read,
        av.open(written, "w", format="mp4", options=options) as out,
    ):
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(read.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = bytearray(written.getvalue())
    if frames:
        at = data.rindex(b"trun") + 4
        data[at : at + 8] = struct.pack(">II", 1, frames)
    piece = data.index(b"moof") - 4
    return bytes(data[:piece] + struct.pack(">I4s", 8, b"free") * behind + data[piece:])


def png(width: int, height: int) -> bytes:
    """The header of a picture, and no pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


READS: dict[str, Callable[[bytes], object]] = {
    "probe": lambda data: probe(data, name="x.mp4"),
    "load": lambda data: load_video(data, SAMPLER, None, name="x.mp4"),
    "index": lambda data: describe_media(data, "video", "x.mp4"),
    "file": lambda data: probe(io.BytesIO(data), name="x.mp4"),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("frames", [20_000_000, 10**9, 2**32 - 1])
def test_a_table_of_more_frames_than_bytes(read: str, frames: int) -> None:
    data = declaring(frames)
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"x\.mp4: its header declares {frames:,} frames"):
        READS[read](data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4_000_000


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("behind", [0, 1000])
def test_a_piece_of_more_frames_than_bytes(read: str, behind: int) -> None:
    with pytest.raises(DataError, match=r"x\.mp4: its header declares 20,000,000 frames"):
        READS[read](in_pieces(20_000_000, behind))


def test_pieces_are_counted_together() -> None:
    data = in_pieces(len(in_pieces(0)) * 9 // 10)
    refuse_table(io.BytesIO(data), "x.mp4")
    with pytest.raises(DataError, match="its header declares"):
        refuse_table(io.BytesIO(data + data[data.index(b"moof") - 4 :] * 9), "x.mp4")


def test_a_header_of_endless_parts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vxl.video.limits._BOXES", 500)
    with pytest.raises(DataError, match="more than 500 parts"):
        probe(in_pieces(0, behind=1000), name="x.mp4")


@pytest.mark.parametrize("made", [video, lambda: in_pieces(0)], ids=["whole", "in pieces"])
def test_true_videos_pass_and_stay_at_their_start(made: Callable[[], bytes]) -> None:
    file = io.BytesIO(made())
    refuse_table(file, "x.mp4")
    assert file.tell() == 0
    assert probe(made()).frames == 8


@pytest.mark.parametrize("damage", range(40))
def test_a_garbled_table_ends(damage: int) -> None:
    """Lengths of zero, of themselves and beyond the file make no loop."""
    data, rng = bytearray(video()), np.random.default_rng(damage)
    for place in rng.integers(0, len(data), 30):
        data[place] = rng.integers(0, 256)
    for kind in (b"moov", b"trak", b"stbl"):
        at = data.find(kind)
        if at >= 4:
            data[at - 4 : at] = struct.pack(">I", int(rng.choice([0, 1, 4, 8, 2**32 - 1])))
    with contextlib.suppress(DataError):
        refuse_table(io.BytesIO(bytes(data)), "x.mp4")


@pytest.mark.parametrize("sampler", [SAMPLER, Fps(FpsConfig(max_frames=0))], ids=["uniform", "fps"])
@pytest.mark.parametrize(("frames", "fps"), [(10**12, 25.0), (MOST_FRAMES + 1, 1e9)])
def test_frames_and_seconds_that_an_index_declares(sampler, frames: int, fps: float) -> None:
    with pytest.raises(DataError, match="a video: its header declares"):
        sampler.select(frames, fps)


def test_seconds_that_an_index_declares() -> None:
    with pytest.raises(DataError, match="a video: its header declares 2,000,000 seconds"):
        SAMPLER.select(2, 1e-6, times_F=np.array([0.0, 1e6]))
    assert len(Fps(FpsConfig(max_frames=0)).select(100_000, 0.01).indices) == 100_000  # a slow time lapse


def test_times_that_unpack_to_more_than_a_video_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vxl.video.frame_times.MOST_FRAMES", 100)
    assert len(unpack_times(pack_times(np.arange(100.0)))) == 100
    with pytest.raises(ValueError, match="more than 100 frames"):
        _ = Visual("video", "x", stamps=pack_times(np.arange(101.5))).times_F


@pytest.mark.parametrize("size", [(100_000, 100_000), (12_000, 9_000)])
def test_pixels_of_an_image(size: tuple[int, int]) -> None:
    for read in (read_rgb, lambda data: describe_media(data, "image", "x.png")):
        with pytest.raises(DataError, match=r"pixels|decompression bomb"):
            read(png(*size))
