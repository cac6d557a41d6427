"""The benchmark measures what it says: the same frames on both sides. Its numbers are no test."""

import json
import subprocess
import sys

import pytest

from tests.acceptance.scripts import with_clips
from tests.data.media import video
from vxl.cli.bench.data import in_turns, measure_stream
from vxl.table import listing_of
from vxl.video.sample import UniformConfig


def test_both_sides_give_the_same_frames(tmp_path):
    for name, frames in (("a", 12), ("b", 7)):
        (tmp_path / f"{name}.mp4").write_bytes(video(frames))
    files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    row = measure_stream("small", files, UniformConfig(max_frames=8), 56, tmp_path / "shards", 1)
    assert (row.samples, row.frames) == (2, 15)
    assert row.ratio == pytest.approx(row.frames_per_s / row.pyav_frames_per_s)
    table = listing_of("stream", [row])
    assert table.columns[:4] == ["case", "samples", "frames", "samples per s"]
    assert table.rows[0][0][:3] == ("small", "2", "15")


def test_sides_take_turns():
    calls = []
    assert len(in_turns([lambda: calls.append("a"), lambda: calls.append("b")], 3)) == 2
    assert calls == ["a", "b"] * 3


@pytest.mark.slow
def test_overhead_as_typed(tmp_path):
    command = [
        "vxl",
        "bench",
        "data",
        "--only",
        "overhead",
        "--cache",
        with_clips(tmp_path) / ".cache" / "vxl",
        "--as-json",
        tmp_path / "n.json",
    ]
    code = "from vxl.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code, *map(str, command[1:])], check=True)
    rows = json.loads((tmp_path / "n.json").read_text())["overhead"]
    assert [row["case"] for row in rows] == ["one sample a row", "packed"]
    assert all(0 < row["share"] < 1 for row in rows)
