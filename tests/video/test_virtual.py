"""Videos that are no file: folders of frames, and segments of files one after another."""

from pathlib import Path

import pytest
from PIL import Image

from tests.video.numbered import numbers_of, write
from vxl.errors import DataError
from vxl.video.sample import Fps, FpsConfig
from vxl.video.virtual import FrameFolder, Part, Segments, stream_virtual


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> str:
    """120 frames, one every 40 ms."""
    return str(write(tmp_path_factory.mktemp("even") / "even.mp4", pts_ms=lambda i: 40 * i))


@pytest.fixture(scope="module")
def varying(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 frames at 30 a second, then 60 at one a second."""
    path = tmp_path_factory.mktemp("varying") / "varying.mp4"
    return str(write(path, pts_ms=lambda i: round(1000 * i / 30) if i < 60 else 1000 * (i - 58)))


def test_frames_are_those_that_the_files_show_at_that_time(even: str, varying: str) -> None:
    parts = (Part(even, 1.0, 2.0), Part(varying, 0.5, 4.0), Part(even, 0.0, 1.0))
    video = Segments(parts, 5.0, 96, 64)
    assert (video.info.frames, video.info.seconds) == (35, 7.0)
    seconds = [(index + 0.5) / 5 for index in range(35)]
    shown = [int((1.0 + s) * 25 + 1e-6) for s in seconds[:10]]
    for second in seconds[10:30]:
        at = second - 2.0 + 0.5
        shown.append(int(at * 30 + 1e-6) if at < 2 else 58 + int(at))
    shown += [int((s - 6.0) * 25 + 1e-6) for s in seconds[30:]]
    assert numbers_of(video.frames(range(35), None)) == shown
    assert numbers_of(video.frames([3, 12, 34], None)) == [shown[3], shown[12], shown[34]]


def test_a_stream_is_cut_anywhere(even: str) -> None:
    video = Segments((Part(even, 0.0, 1.5), Part(even, 3.0, 1.5)), 4.0, 96, 64)
    sampler = Fps(FpsConfig(fps=4.0, max_fps=None, max_frames=0))
    stream = stream_virtual(video, sampler, None, piece=5)
    numbers = [number for piece in stream.pieces for number in numbers_of(piece)]
    assert numbers == numbers_of(video.frames(range(12), None))
    assert stream.seconds == [round(0.25 * n, 1) for n in range(12)]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    video = Segments((Part(str(tmp_path / "gone.mp4"), 0.0, 1.0),), 4.0, 96, 64)
    with pytest.raises(DataError, match=r"gone\.mp4"):
        video.frames([0], None)


def test_frames_of_other_sizes_are_named_or_resized(tmp_path: Path) -> None:
    for number, size in enumerate([(32, 24), (32, 24), (24, 32)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    folder = FrameFolder(tmp_path, 2.0)
    assert folder.frames([0, 1], None).shape == (2, 3, 24, 32)
    with pytest.raises(DataError, match=r"2\.png is \(32, 24\), 0\.png \(24, 32\)"):
        folder.frames([0, 1, 2], None)
