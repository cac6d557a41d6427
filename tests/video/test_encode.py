import io
from pathlib import Path

import numpy as np
import pytest

from tests.video.numbered import numbered_frames, numbers_of
from vxl.errors import DataError
from vxl.video.container import open_container
from vxl.video.decode import decode
from vxl.video.encode import write_video
from vxl.video.probe import index_frames, probe


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "numbers.mp4"
    assert write_video(path, numbered_frames(50), 12.5, gop=10) == 50
    info = probe(path)
    assert (info.frames, info.fps, info.width, info.height, info.codec) == (50, 12.5, 96, 64, "h264")
    assert numbers_of(decode(path, range(50))) == list(range(50))
    with open_container(path) as (container, stream, name):
        assert np.unique(index_frames(container, stream, name).starts_N).tolist() == [0, 10, 20, 30, 40]


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        file = io.BytesIO()
        write_video(file, numbered_frames(30), 25)
        written.append(file.getvalue())
    assert written[0] == written[1]
    write_video(tmp_path / "a.mp4", numbered_frames(30), 25)
    assert (tmp_path / "a.mp4").read_bytes() == written[0]


def test_an_odd_row_and_column_are_left_out() -> None:
    file = io.BytesIO()
    write_video(file, [np.full((31, 45, 3), 128, np.uint8)], 5)
    info = probe(file)
    assert (info.frames, info.width, info.height) == (1, 44, 30)


def test_a_failed_video_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frames to write"):
        write_video(tmp_path / "a.mp4", [], 25)
    sizes = [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 48, 3), np.uint8)]
    with pytest.raises(DataError, match=r"frame 1 is \(32, 48, 3\), the first \(32, 32, 3\)"):
        write_video(tmp_path / "a.mp4", sizes, 25)
    with pytest.raises(DataError, match=r"a frame of shape \(32, 32\)"):
        write_video(tmp_path / "a.mp4", [np.zeros((32, 32), np.uint8)], 25)
    assert list(tmp_path.iterdir()) == []
