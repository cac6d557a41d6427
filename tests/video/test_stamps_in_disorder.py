"""Times where stamps come twice, fall back or begin again, where the last frame stands, or there are none."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.video.numbered import numbered_frames, numbers_of, without_rate, write
from vxl.video.decode import decode
from vxl.video.frame_times import never_falling
from vxl.video.load import load_video
from vxl.video.probe import probe
from vxl.video.sample import Uniform, UniformConfig

EVERY = Uniform(UniformConfig(max_frames=1000))


def stamped(
    path: Path,
    stamps: Sequence[int],
    durations: Sequence[int] = (),
    codec: str = "libvpx",
    live: bool = False,
) -> Path:
    """A video whose packets have these time stamps and durations (ms), in order or not."""
    options = {"g": "24", "crf": "10", "b": "1M"} if codec == "libvpx" else {"bf": "0"}
    with av.open(str(path), "w", options={"live": "1"} if live else {}) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number, pixels_HWC in enumerate(numbered_frames(len(stamps))):
            frame = av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")
            frame.pts, frame.time_base = 100 * number, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode()
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = stamps[number]
            packet.time_base = Fraction(1, 1000)
            packet.duration = durations[number] if durations else 0
            container.mux(packet)
    return path


@pytest.mark.parametrize("live", [False, True])
def test_a_stamp_that_comes_twice_costs_no_other(live: bool, tmp_path: Path) -> None:
    """A browser's webm states no rate: without its stamps it would have a thousand frames a second."""
    stamps = [100 * i if i < 30 else 3000 + 1000 * (i - 30) for i in range(60)]
    stamps[20] = stamps[19]
    path = stamped(tmp_path / "twice.webm", stamps, live=live)
    if live:
        without_rate(path)
    info = probe(path)
    assert (info.frames, info.seconds) == (60, pytest.approx(33.0, abs=1.1))
    assert info.times_F is not None
    assert np.abs(1000 * info.times_F - stamps).max() < 2
    assert numbers_of(decode(path, range(60))) == list(range(60))
    assert numbers_of(decode(path, [19, 20, 59])) == [19, 20, 59]
    part = load_video(path, EVERY, None, start=10.0, end=20.0)
    assert numbers_of(part.frames_FCHW) == list(range(37, 47))


@pytest.mark.parametrize("begins", [0, 13, 1013])
def test_recordings_that_were_joined_go_on(begins: int, tmp_path: Path) -> None:
    """The second one's stamps begin again: at the first one's, between them, or in their midst."""
    options = {"bf": "2", "g": "24"}
    one = write(tmp_path / "a.ts", "libx264", options, frames=60)
    two = write(tmp_path / "b.ts", "libx264", options, frames=60, pts_ms=lambda i: begins + 40 * i)
    path = tmp_path / "c.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    info = probe(path)
    assert (info.frames, info.seconds) == (120, pytest.approx(4.8, abs=0.1))
    assert numbers_of(decode(path, range(120))) == [*range(60)] * 2
    assert numbers_of(decode(path, [10, 59, 60, 100])) == [10, 59, 0, 40]
    late = load_video(path, EVERY, None, start=3.0)
    assert numbers_of(late.frames_FCHW)[0] == pytest.approx(15, abs=1)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx")])
def test_a_last_frame_that_stands(suffix: str, codec: str, tmp_path: Path) -> None:
    """As in a recording of a screen on which nothing happens any more."""
    stamps, durations = [100 * i for i in range(20)], [*[100] * 19, 9000]
    path = stamped(tmp_path / f"stands.{suffix}", stamps, durations, codec)
    info = probe(path)
    assert (info.frames, info.seconds) == (20, pytest.approx(10.9, abs=0.01))
    standing = load_video(path, EVERY, None, start=5.0, end=6.0)
    assert numbers_of(standing.frames_FCHW) == [19]
    assert len(load_video(path, EVERY, None).seconds) == 20


@pytest.mark.parametrize("delays", [[100, 200, 1000, 60], [500, 500, 500, 3000], [40, 40, 40, 40]])
@pytest.mark.parametrize("form", ["gif", "png"])
def test_pictures_that_say_how_long_each_is_shown(form: str, delays: list[int], tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (32, 24), (60 * n, 0, 0)) for n in range(4)]
    path = tmp_path / f"delays.{form}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=delays)
    info = probe(path)
    assert (info.frames, info.seconds) == (4, pytest.approx(sum(delays) / 1000, abs=0.01))
    shown = load_video(path, EVERY, None).seconds
    assert shown == pytest.approx([sum(delays[:n]) / 1000 for n in range(4)], abs=0.051)


@pytest.mark.parametrize(("codec", "form"), [("libx264", "h264"), ("libx265", "hevc")])
def test_a_bare_stream_has_the_rate_that_is_coded_in_it(codec: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"bare.{form}"
    quiet = {"x265-params": "log-level=none:pools=none"} if form == "hevc" else {}
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=30, options=quiet)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for pixels_HWC in numbered_frames(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")))
        container.mux(stream.encode())
    info = probe(path)
    assert (info.frames, info.fps, info.seconds) == (30, 30.0, 1.0)


@given(
    gaps=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    holes=st.sets(st.integers(0, 60)),
    again=st.integers(0, 60),
)
def test_times_never_fall(gaps: list[int], holes: set[int], again: int) -> None:
    stamps = np.cumsum([0, *gaps]).tolist()
    whole = never_falling(stamps, 0.01)
    assert whole is not None
    assert whole.tolist() == stamps
    known = [None if n in holes else stamp for n, stamp in enumerate(stamps)]
    filled = never_falling(known, 0.01)
    assert (filled is None) == (2 * known.count(None) > len(stamps))
    for times_N in (filled, never_falling([*stamps[:again], *stamps], 0.01)):
        assert times_N is None or (np.diff(times_N) >= 0).all()


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0, 40, 80, 20, 160, 200], [0, 40, 80, 80, 160, 200]),  # too early: with the frame before it
        ([0, 40, 4000, 0, 40, 80], [0, 40, 4000, 4040, 4080, 4120]),  # begins again
        ([0, None, 80], [0, 40, 80]),
        ([5], [5]),
    ],
)
def test_what_becomes_of_stamps_in_disorder(stamps: list[int | None], times: list[int]) -> None:
    found = never_falling(stamps, 0.001)
    assert found is not None
    assert found.tolist() == times
    assert never_falling([None, None, 80], 0.001) is None
    assert never_falling([], 0.001) is None
