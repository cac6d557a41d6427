import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.numbered import KINDS
from vxl.errors import DataError
from vxl.video.container import open_container
from vxl.video.probe import index_frames, probe

Numbered = Callable[[str], Path]


def test_the_clips(clips: Path) -> None:
    info = probe(clips / "sintel_trailer.mp4")
    assert (info.frames, info.fps, info.width, info.height, info.codec) == (1253, 24.0, 480, 270, "h264")
    assert info.seconds == pytest.approx(52.2, abs=0.05)
    assert probe((clips / "bunny.mp4").read_bytes()) == probe(clips / "bunny.mp4")


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in {"edit_list.mp4", "variable_rate.mp4"}]
)
def test_counts_and_rates_of_all_containers(kind: str, numbered: Numbered) -> None:
    info = probe(numbered(kind))
    assert (info.frames, info.width, info.height) == (120, 96, 64)
    assert info.fps == pytest.approx(25.0, rel=0.01)


def test_frames_that_are_not_shown_do_not_count(numbered: Numbered) -> None:
    assert probe(numbered("edit_list.mp4")).frames == 110
    with av.open(str(numbered("vp8_hidden.webm"))) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert packets > 120, "this file is to have packets that show nothing"


def test_the_index_knows_order_and_key_frames(numbered: Numbered) -> None:
    with open_container(numbered("open_gop.mp4")) as (container, stream, name):
        index = index_frames(container, stream, name)
    assert index.seekable
    assert (np.diff(index.pts_N) > 0).all()
    keys = np.unique(index.starts_N)
    assert len(keys) == 5
    assert (index.starts_N <= np.arange(120)).all()
    assert index.position(int(index.pts_N[7])) == 7
    assert index.position(int(index.pts_N[7]) + 1) is None
    assert index.position(None) is None


def test_an_absent_file() -> None:
    with pytest.raises(DataError, match=r"nowhere/video.mp4: no such file"):
        probe("nowhere/video.mp4")


@pytest.mark.parametrize("data", [b"", b"not a video " * 100], ids=["empty", "text"])
def test_something_else(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=rf"video.mp4: can't be read as a video: .*\n  got: {len(data):,} bytes"
    ):
        probe(path)
    with pytest.raises(DataError, match=rf"<{len(data):,} bytes>: can't be read"):
        probe(data)
    with pytest.raises(DataError, match=r"can't be read"):
        probe(tmp_path)


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(DataError, match=r"sound.wav: no video in this file.\n  got: audio"):
        probe(path)


def test_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "nothing.mp4"
    with av.open(str(path), "w", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    with pytest.raises(DataError, match=r"nothing.mp4: 0 frames in its video stream \(h264, 64x64\)"):
        probe(path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("b_frames.mp4", r"cut.mp4: can't be read as a video: .*\n  got: [\d,]+ bytes"),
        ("faststart.mp4", r"cut.mp4: truncated: its header lists 120 frames, the file ends after \d+"),
        (
            "b_frames.mkv",
            r"cut.mkv: truncated: its header promises 4.8 s of video, the frames end after \d.\d s",
        ),
        (
            "vp9.webm",
            r"cut.webm: truncated: its header promises 4.8 s of video, the frames end after \d.\d s",
        ),
    ],
)
def test_a_file_cut_off_in_the_middle(kind: str, message: str, numbered: Numbered, tmp_path: Path) -> None:
    whole = numbered(kind)
    data = whole.read_bytes()
    path = tmp_path / f"cut{whole.suffix}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=message):
        probe(path)
    with pytest.raises(DataError, match=r"^clip 7: "):
        probe(io.BytesIO(data[: len(data) // 2]), name="clip 7")


def test_metadata_in_another_encoding_is_no_reason_to_fail(numbered: Numbered) -> None:
    data = numbered("b_frames.mp4").read_bytes()
    tag = data.index(b"Lavf")
    assert probe(data[:tag] + b"L\xe4vf" + data[tag + 4 :]).frames == 120
