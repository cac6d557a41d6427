import io
from pathlib import Path

import torch
from PIL import Image

from vxl.evaluate.work.glance import Glance


def test_frames_pass_unchanged_and_some_are_kept(tmp_path: Path) -> None:
    frames = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 3, 32, 32) * 10
    glance = Glance()
    passed = list(glance.through(20, frames.split(6)))
    assert torch.equal(torch.cat(passed), frames)
    assert [int(frame[0, 0, 0]) // 10 for frame in glance.frames] == [0, 3, 5, 8, 11, 14, 16, 19]
    shown = glance.write(tmp_path, "a/b.mp4")
    with Image.open(io.BytesIO((tmp_path / shown).read_bytes())) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (8 * 96, 96)
    assert glance.write(tmp_path, "a/b.mp4") == shown
    assert [file.name for file in (tmp_path / "frames").iterdir()] == [Path(shown).name]
    assert Glance().write(tmp_path, "blind") == ""
