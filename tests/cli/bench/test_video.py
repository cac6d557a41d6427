from pathlib import Path

import numpy as np

from vxl.cli.bench.video import five_minutes, measure_decoding
from vxl.video.container import open_container
from vxl.video.probe import index_frames, probe
from vxl.video.transform import PixelSpec


def test_a_case_compares_the_same_frames(clips: Path) -> None:
    pixels = PixelSpec(56, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    row = measure_decoding("bunny", clips / "bunny.mp4", 127, np.arange(0, 127, 20), pixels, repeats=1)
    assert (row.frames, row.wanted) == (127, 7)
    assert row.ratio > 0
    assert abs(row.ratio - row.vxl_frames_per_s / row.pyav_frames_per_s) < 1e-6


def test_the_long_file_loops_the_clips(clips: Path, tmp_path: Path) -> None:
    path = five_minutes(tmp_path / "cache" / "long.mp4", clips, seconds=6)
    assert probe(path).frames == 144
    with open_container(path) as (container, stream, name):
        assert np.unique(index_frames(container, stream, name).starts_N).tolist() == [0, 24, 48, 72, 96, 120]
    written = path.stat().st_mtime_ns
    five_minutes(path, clips, seconds=6)
    assert path.stat().st_mtime_ns == written
