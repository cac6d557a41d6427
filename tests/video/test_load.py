import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.video.numbered import numbers_of
from vxl.errors import DataError
from vxl.video.load import load_image, load_video, stream_video
from vxl.video.sample import Fps, FpsConfig, Uniform, UniformConfig
from vxl.video.transform import PixelSpec

PIXELS = PixelSpec(56, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
Numbered = Callable[[str], Path]


def test_a_video(clips: Path) -> None:
    loaded = load_video(clips / "bunny.mp4", Fps(FpsConfig(max_frames=16)), PIXELS)
    assert loaded.frames_FCHW.shape == (11, 3, 56, 56)
    assert loaded.frames_FCHW.dtype == torch.uint8
    assert loaded.seconds == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]
    assert loaded.info.frames == 127


def test_a_segment_has_its_own_clock(numbered: Numbered) -> None:
    loaded = load_video(
        numbered("b_frames.mp4"), Uniform(UniformConfig(max_frames=3)), None, start=2.0, end=3.0
    )
    assert numbers_of(loaded.frames_FCHW) == [50, 62, 74]
    assert loaded.seconds == [0.0, 0.5, 1.0]


def test_a_video_in_pieces(numbered: Numbered) -> None:
    sampler = Uniform(UniformConfig(max_frames=10))
    pieces = stream_video(numbered("b_frames.mp4"), sampler, PIXELS, piece=4)
    whole = load_video(numbered("b_frames.mp4"), sampler, PIXELS)
    got = list(pieces.pieces)
    assert [len(piece) for piece in got] == [4, 4, 2]
    assert torch.equal(torch.cat(got), whole.frames_FCHW)
    assert pieces.seconds == whole.seconds
    assert pieces.info == whole.info


def test_errors_name_the_video(numbered: Numbered, tmp_path: Path) -> None:
    sampler = Uniform(UniformConfig(max_frames=4))
    with pytest.raises(DataError, match=r"nowhere.mp4: no such file"):
        load_video("nowhere.mp4", sampler, PIXELS)
    with pytest.raises(DataError, match=r"nowhere.mp4: no such file"):
        stream_video("nowhere.mp4", sampler, PIXELS, piece=4)
    path = numbered("b_frames.mp4")
    for load in (load_video, lambda *a, **k: stream_video(*a, **k, piece=4)):
        with pytest.raises(
            DataError, match=r"b_frames.mp4: no frame between 9 s and 4.8 s of a video of 4.8 s"
        ):
            load(path, sampler, PIXELS, start=9.0)


def test_an_image() -> None:
    pixels_HWC = np.arange(20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "png")
    assert np.array_equal(load_image(file.getvalue(), None).permute(1, 2, 0).numpy(), pixels_HWC)
    resized = np.asarray(Image.fromarray(pixels_HWC).resize((56, 56), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(load_image(file, PIXELS).permute(1, 2, 0).numpy() - resized).max() <= 1


def test_grey_and_transparent_images_become_rgb() -> None:
    for mode in ("L", "RGBA", "P", "1"):
        file = io.BytesIO()
        Image.new(mode, (8, 6)).save(file, "png")
        assert load_image(file, None).shape == (3, 6, 8)


def test_an_image_of_a_turned_camera_is_upright() -> None:
    image = Image.new("RGB", (8, 6))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    file = io.BytesIO()
    image.save(file, "jpeg", exif=exif)
    assert load_image(file, None).shape == (3, 8, 6)


def test_bad_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.png: no such file"):
        load_image("nowhere.png", PIXELS)
    path = tmp_path / "text.png"
    path.write_text("no image")
    with pytest.raises(DataError, match=r"text.png: can't be read as an image"):
        load_image(path, PIXELS)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file, "png")
    for keep in (20, 40, 200, 5000):
        with pytest.raises(DataError, match=rf"<{keep:,} bytes>: can't be read as an image"):
            load_image(file.getvalue()[:keep], PIXELS)
