"""Times come from the frames' own stamps: variable rates, late beginnings, files that state no rate."""

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.video.numbered import KINDS, numbers_of, without_rate, write
from vxl.errors import DataError
from vxl.video.frame_times import even_rate, last_duration, pack_times, unpack_times
from vxl.video.load import load_video, stream_video
from vxl.video.probe import probe
from vxl.video.sample import Fps, FpsConfig, Uniform, UniformConfig

Numbered = Callable[[str], Path]
FAST_THEN_SLOW = [*(i / 30 for i in range(60)), *(2.0 + i for i in range(60))]
EVERY = Uniform(UniformConfig(max_frames=1000))


@pytest.fixture(scope="module", params=["mp4", "mkv", "webm"])
def varying(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames at 30 a second, then 60 at one a second."""
    path = tmp_path_factory.mktemp("varying") / f"varying.{request.param}"
    codec = (
        {"codec": "libvpx", "options": {"g": "24", "crf": "10", "b": "1M"}} if path.suffix == ".webm" else {}
    )
    return write(
        path,
        **(codec or {"options": {"bf": "2", "g": "24"}}),
        pts_ms=lambda i: round(1000 * FAST_THEN_SLOW[i]),
    )


def test_a_variable_rate_has_the_frames_own_times(varying: Path) -> None:
    info = probe(varying)
    assert info.frames == 120
    assert info.times_F is not None
    assert np.abs(info.times_F - FAST_THEN_SLOW).max() < 0.002
    assert 61.0 <= info.seconds <= 62.0
    assert info.fps == pytest.approx(120 / info.seconds)
    loaded = load_video(varying, EVERY, None)
    assert numbers_of(loaded.frames_FCHW) == list(range(120))
    assert loaded.seconds == pytest.approx(FAST_THEN_SLOW, abs=0.051)


def test_a_segment_of_a_variable_rate_is_what_is_shown_between_its_times(varying: Path) -> None:
    loaded = load_video(varying, EVERY, None, start=30.0, end=40.0)
    assert numbers_of(loaded.frames_FCHW) == list(range(88, 98))
    assert loaded.seconds == [float(second) for second in range(10)]
    early = load_video(varying, EVERY, None, start=1.0, end=2.0)
    assert numbers_of(early.frames_FCHW) == list(range(30, 60))
    standing = load_video(varying, EVERY, None, start=30.2, end=30.8)
    assert numbers_of(standing.frames_FCHW) == [88]
    with pytest.raises(DataError, match="no frame between 70 s"):
        load_video(varying, EVERY, None, start=70.0)


def test_sampling_a_variable_rate_goes_by_time(varying: Path) -> None:
    loaded = load_video(varying, Fps(FpsConfig(max_fps=None)), None)
    assert numbers_of(loaded.frames_FCHW)[:4] == [0, 30, 60, 61]
    assert np.diff(loaded.seconds).min() >= 0.9
    uniform = load_video(varying, Uniform(UniformConfig(max_frames=7)), None)
    assert uniform.seconds == pytest.approx([0, 10, 20, 30, 40, 50, 61], abs=1.0)
    pieces = stream_video(varying, Fps(FpsConfig(max_fps=None)), None, piece=4)
    assert pieces.seconds == loaded.seconds


def test_the_published_rule_is_an_option(varying: Path) -> None:
    sampler = Fps(FpsConfig(max_fps=None, published_average_rate=True))
    loaded = load_video(varying, sampler, None)
    info = loaded.info
    step = round(info.fps)
    assert numbers_of(loaded.frames_FCHW) == list(range(0, 120, step))
    assert loaded.seconds == [round(i / info.fps, 1) for i in range(0, 120, step)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "variable_rate.mp4"])
def test_even_frames_are_sampled_as_published(kind: str, numbered: Numbered) -> None:
    info = probe(numbered(kind))
    assert not info.stamps
    for make in (Fps, Uniform):
        config = FpsConfig if make is Fps else UniformConfig
        ours, published = (
            make(config(max_frames=16, published_average_rate=flag)).select(
                info.frames, info.fps, times_F=info.times_F
            )
            for flag in (False, True)
        )
        assert ours.indices.tolist() == published.indices.tolist()
        assert ours.seconds == published.seconds


def test_a_webm_that_states_no_rate(tmp_path: Path) -> None:
    chance = random.Random(0)
    stamps = [round(i * 1000 / 30 + chance.uniform(-6, 6)) if i else 0 for i in range(300)]
    path = write(
        tmp_path / "recorded.webm", "libvpx", {"g": "60", "crf": "10", "b": "1M"},
        frames=300, pts_ms=lambda i: stamps[i], muxer={"live": "1"},
    )  # fmt: skip
    info = probe(without_rate(path))
    assert info.frames == 300
    assert info.seconds == pytest.approx(10.0, abs=0.05)
    assert info.fps == pytest.approx(30.0, rel=0.01)
    assert info.times_F is not None
    assert np.abs(1000 * info.times_F - stamps).max() < 1.0
    loaded = load_video(path, Fps(FpsConfig(max_fps=None)), None)
    assert loaded.seconds == [float(second) for second in range(10)]
    assert np.abs(np.array(numbers_of(loaded.frames_FCHW)) - np.arange(0, 300, 30)).max() <= 1


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm"])
@pytest.mark.parametrize("gap", [2.0, 5.0])
def test_slower_than_a_frame_a_second(suffix: str, gap: float, tmp_path: Path) -> None:
    codec = ("libvpx", {"crf": "10", "b": "1M"}) if suffix == "webm" else ("libx264", {"bf": "2"})
    path = tmp_path / f"slow.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec[0], rate=Fraction(1 / gap).limit_denominator(10), options=codec[1]
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(12):
            grey = np.full((64, 96, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    info = probe(path)
    assert info.frames == 12
    assert info.seconds == pytest.approx(12 * gap, abs=0.1)
    loaded = load_video(path, Fps(FpsConfig()), None)
    assert loaded.seconds == [gap * number for number in range(12)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_video_that_begins_late_in_its_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"late.{suffix}"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "2"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(80):
            samples = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            samples.sample_rate, samples.pts, samples.time_base = 8000, 1024 * number, Fraction(1, 8000)
            container.mux(sound.encode(samples))
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 125 + number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        container.mux(sound.encode())
    info = probe(path)
    assert info.begins == pytest.approx(5.0, abs=0.2)
    assert info.seconds == pytest.approx(2.0)
    loaded = load_video(path, Fps(FpsConfig(max_fps=None)), None)
    assert loaded.seconds == pytest.approx([5.0, 6.0], abs=0.2)
    part = load_video(path, EVERY, None, start=info.begins + 1.0)
    assert part.frames_FCHW.shape[0] == 25
    assert part.frames_FCHW[0].float().mean() == pytest.approx(125, abs=4)
    with pytest.raises(DataError, match="no frame between 0 s and 4 s"):
        load_video(path, EVERY, None, end=4.0)


def test_a_delay_of_b_frames_is_no_late_beginning(numbered: Numbered) -> None:
    assert probe(numbered("fragmented.mp4")).begins == 0.0


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=60))
def test_times_survive_being_packed(gaps: list[float]) -> None:
    times_F = np.cumsum([0.0, *gaps])
    assert np.abs(unpack_times(pack_times(times_F)) - times_F).max() < 1e-6


def test_damaged_times_are_an_error() -> None:
    with pytest.raises(ValueError, match="can't be read"):
        unpack_times("abcde")


@given(
    frames=st.integers(2, 400), rate=st.floats(0.2, 120.0), tick=st.sampled_from([1e-3, 1 / 90000, 1 / 12800])
)
def test_even_frames_are_recognised_in_any_clock(frames: int, rate: float, tick: float) -> None:
    times_F = np.round(np.arange(frames) / rate / tick) * tick
    assert even_rate(times_F - times_F[0], rate) == rate
    assert even_rate(times_F - times_F[0], 0.0) == pytest.approx(rate, rel=0.01 + 0.002 * rate / frames)
    late_F = times_F + (np.arange(frames) >= frames - 1) * 0.5
    assert frames < 3 or even_rate(late_F, rate) is None


def test_how_long_the_last_frame_is_shown() -> None:
    assert last_duration(np.array([0.0, 2.0, 4.0]), 2.0, 0.5) == 2.0
    assert last_duration(np.array([0.0, 0.03, 0.07]), 0.001, 0.0) == pytest.approx(0.035)
    assert last_duration(np.array([0.0, 0.03, 0.07]), 5.0, 0.0) == 5.0
    assert last_duration(np.array([0.0]), 0.0, 4.0) == 0.25
    assert last_duration(np.array([0.0]), 3.0, 0.0) == 3.0


@given(
    gaps=st.lists(st.floats(0.001, 20.0), min_size=1, max_size=80),
    fps=st.floats(0.05, 30.0),
    most=st.integers(1, 64),
    max_fps=st.none() | st.integers(1, 8),
)
def test_every_selection_of_uneven_frames_is_usable(
    gaps: list[float], fps: float, most: int, max_fps: int | None
) -> None:
    times_F = np.cumsum([0.0, *gaps])
    frames, length = len(times_F), float(times_F[-1]) + 1.0
    for sampler in (
        Fps(FpsConfig(fps=fps, max_frames=most, max_fps=max_fps)),
        Uniform(UniformConfig(max_frames=most)),
    ):
        selection = sampler.select(frames, frames / length, times_F=times_F)
        assert 1 <= len(selection.indices) <= min(most, frames)
        assert (np.diff(selection.indices) > 0).all()
        assert selection.indices[0] >= 0
        assert selection.indices[-1] < frames
        assert selection.seconds == [round(float(times_F[i]), 1) for i in selection.indices]


@pytest.mark.parametrize(("start", "end"), [(float("nan"), None), (None, float("nan"))])
def test_times_that_are_no_numbers(start: float | None, end: float | None) -> None:
    with pytest.raises(DataError, match="nan is no time"):
        EVERY.select(100, 10.0, start, end)


def test_an_endless_segment_ends_with_the_video() -> None:
    assert EVERY.select(100, 10.0, 9.0, float("inf")).indices.tolist() == list(range(90, 100))
    with pytest.raises(DataError, match="no frame between inf s"):
        EVERY.select(100, 10.0, float("inf"))
