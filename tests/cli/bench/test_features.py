"""The benchmark of kept features makes sure that they change no loss. Its numbers are no test."""

from pathlib import Path

import pytest

from tests.acceptance.scripts import with_clips
from vxl.cli.bench.features import kept_features


@pytest.mark.slow
def test_the_three_cases_of_a_model(tmp_path: Path) -> None:
    rows = kept_features(with_clips(tmp_path) / ".cache" / "vxl", steps=1, models=["tiny"])
    assert [row.case for row in rows] == ["without", "cold", "warm"]
    assert {row.frames_a_step for row in rows} == {rows[0].frames_a_step}
    assert rows[0].mib_on_disk == 0 < rows[1].mib_on_disk == rows[2].mib_on_disk
