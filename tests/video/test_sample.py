import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxl.errors import ConfigError, DataError
from vxl.video.sample import Fps, FpsConfig, Sampler, Uniform, UniformConfig, with_sampling


def published(frames: int, rate: float, fps: float, most: int, max_fps: int | None) -> list[int]:
    """The rule as spec/video_xl_2.md, section 9, writes it down."""
    indices = list(range(0, frames, round(rate / fps)))
    if max_fps is not None:
        higher = min(most // len(indices), max_fps)
        if higher > fps:
            indices = list(range(0, frames, round(rate / higher)))
    if most > 0 and len(indices) > most:
        indices = np.linspace(0, frames - 1, most).astype(int).tolist()
    return indices


@pytest.mark.parametrize("frames", [1, 2, 7, 24, 60, 127, 900, 7200, 54000])
@pytest.mark.parametrize("rate", [10.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
@pytest.mark.parametrize(
    ("fps", "most", "max_fps"), [(1, 128, 4), (1, 16, 4), (1, 150, None), (2, 64, 3), (0.5, 0, 4)]
)
def test_fps_is_the_published_rule(
    frames: int, rate: float, fps: float, most: int, max_fps: int | None
) -> None:
    sampler = Fps(FpsConfig(fps=fps, max_frames=most, max_fps=max_fps))
    selection = sampler.select(frames, rate)
    assert selection.indices.tolist() == published(frames, rate, fps, most, max_fps)
    assert selection.seconds == [round(int(index) / rate, 1) for index in selection.indices]


def test_half_a_frame_rounds_to_even() -> None:
    assert Fps(FpsConfig(max_fps=None)).select(12, 2.5).indices.tolist() == [0, 2, 4, 6, 8, 10]
    assert Fps(FpsConfig(max_fps=None)).select(12, 3.5).indices.tolist() == [0, 4, 8]


def test_short_videos_get_up_to_four_frames_a_second() -> None:
    ten_s = Fps(FpsConfig(max_frames=128)).select(240, 24.0)
    assert len(ten_s.indices) == 40
    assert ten_s.seconds[:5] == [0.0, 0.2, 0.5, 0.8, 1.0]
    minute = Fps(FpsConfig(max_frames=128)).select(1440, 24.0)
    assert len(minute.indices) == 120  # twice a second; three times would be 180


def test_a_file_slower_than_the_rate_gives_all_its_frames() -> None:
    assert Fps(FpsConfig(fps=4.0)).select(5, 1.0).indices.tolist() == [0, 1, 2, 3, 4]


@given(
    frames=st.integers(1, 100_000),
    rate=st.floats(0.01, 1000.0),
    fps=st.floats(0.01, 60.0),
    most=st.integers(0, 512),
    max_fps=st.none() | st.integers(1, 8),
)
def test_every_selection_is_usable(
    frames: int, rate: float, fps: float, most: int, max_fps: int | None
) -> None:
    samplers: list[Sampler] = [Fps(FpsConfig(fps=fps, max_frames=most, max_fps=max_fps))]
    if most:
        samplers.append(Uniform(UniformConfig(max_frames=most)))
    for sampler in samplers:
        selection = sampler.select(frames, rate)
        assert 1 <= len(selection.indices) <= (most or frames)
        assert len(selection.indices) == len(selection.seconds)
        assert selection.indices[0] == 0
        assert selection.indices[-1] < frames
        assert (np.diff(selection.indices) > 0).all()


def test_uniform_has_both_ends() -> None:
    assert Uniform(UniformConfig(max_frames=4)).select(100, 25.0).indices.tolist() == [0, 33, 66, 99]
    assert Uniform(UniformConfig(max_frames=4)).select(3, 25.0).indices.tolist() == [0, 1, 2]


def test_a_segment_is_a_video_of_its_own() -> None:
    sampler = Fps(FpsConfig(max_frames=16))
    segment = sampler.select(240, 24.0, start=2.0, end=5.0)
    alone = sampler.select(72, 24.0)
    assert (segment.indices - 48).tolist() == alone.indices.tolist()
    assert segment.seconds == alone.seconds
    assert segment.seconds[0] == 0.0


def test_a_segment_holds_the_frames_from_start_until_before_end() -> None:
    everything = Uniform(UniformConfig(max_frames=1000))
    assert everything.select(100, 10.0, start=0.3, end=0.6).indices.tolist() == [3, 4, 5]
    assert everything.select(100, 10.0, start=9.75).indices.tolist() == [98, 99]
    assert everything.select(100, 10.0, end=0.05).indices.tolist() == [0]
    assert everything.select(100, 10.0, start=9.5, end=99.0).indices.tolist() == [95, 96, 97, 98, 99]


@pytest.mark.parametrize(("start", "end"), [(12.0, None), (5.0, 5.0), (6.0, 3.0)])
def test_an_empty_segment_is_an_error(start: float, end: float | None) -> None:
    with pytest.raises(DataError, match=rf"between {start:g} s and .* of a video of 10.0 s \(100 frames"):
        Uniform(UniformConfig()).select(100, 10.0, start=start, end=end)


@pytest.mark.parametrize(("frames", "rate"), [(0, 25.0), (10, 0.0), (10, float("nan"))])
def test_no_frames_is_an_error(frames: int, rate: float) -> None:
    with pytest.raises(DataError, match=f"a video of {frames} frames"):
        Fps(FpsConfig()).select(frames, rate)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="fps=0"):
        FpsConfig(fps=0.0)
    with pytest.raises(ConfigError, match="max_fps=0"):
        FpsConfig(max_fps=0)
    with pytest.raises(ConfigError, match="max_frames=-1"):
        FpsConfig(max_frames=-1)
    with pytest.raises(ConfigError, match="max_frames=0 with video=uniform"):
        UniformConfig(max_frames=0)


def test_only_torchcodec_has_a_card() -> None:
    with pytest.raises(
        ConfigError, match=r"device=cuda with decoder=pyav: only torchcodec(.|\n)*type  video\."
    ):
        FpsConfig(device="cuda")
    assert UniformConfig(decoder="torchcodec", device="cuda").device == "cuda"


def test_another_rate_decodes_in_the_same_way() -> None:
    video = with_sampling(UniformConfig(decoder="torchcodec", device="cuda"), fps=2.0)
    assert video == FpsConfig(decoder="torchcodec", device="cuda", fps=2.0)
