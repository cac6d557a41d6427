import math

import numpy as np
import pytest
import torch
from PIL import Image

from vxl.video.transform import PixelSpec, _two_passes, normalise, resize_FCHW

HALF = (0.5, 0.5, 0.5)
SIZES = [
    (270, 480, 56),
    (270, 480, 384),
    (480, 270, 224),
    (31, 17, 56),
    (56, 56, 56),
    (720, 1280, 27),
    (1, 1, 8),
]


def picture(height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3] with smooth parts, noise and hard edges."""
    rng = np.random.default_rng(height * width)
    rows, columns = np.mgrid[:height, :width]
    wave = 127 + 120 * np.sin(rows / 9 + columns / 13)
    pixels_HWC = np.stack(
        [wave, (rows // 5 + columns // 7) % 2 * 255, rng.integers(0, 256, (height, width))], axis=2
    )
    return pixels_HWC.astype(np.uint8)


def rows_first(image: Image.Image, width: int, height: int) -> Image.Image:
    """Pillow's resize with its passes in the order in which it always did them before version 13."""
    rows = image.resize((width, image.height), Image.Resampling.BICUBIC)
    return rows.resize((width, height), Image.Resampling.BICUBIC)


def by_pillow(pixels_HWC: np.ndarray, spec: PixelSpec) -> np.ndarray:
    """The family's image processors: Pillow's bicubic to a square, or of the shorter side, then a crop."""
    image, size = Image.fromarray(pixels_HWC), spec.size
    if spec.resize == "squash":
        return np.asarray(rows_first(image, size, size))
    shorter = min(image.size)
    width, height = (int(size * side / shorter) for side in image.size)
    image = rows_first(image, width, height)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("resize", ["squash", "shortest_crop"])
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_resizing_is_pillows(height: int, width: int, size: int, resize: str) -> None:
    spec = PixelSpec(size, HALF, HALF, resize)
    pixels_HWC = picture(height, width)
    frames_FCHW = torch.from_numpy(np.stack([pixels_HWC, pixels_HWC[::-1]])).permute(0, 3, 1, 2)
    resized_FCHW = resize_FCHW(frames_FCHW, spec)
    assert resized_FCHW.shape == (2, 3, size, size)
    assert resized_FCHW.dtype == torch.uint8
    assert resized_FCHW.is_contiguous()
    expected_HWC = by_pillow(pixels_HWC, spec).astype(int)
    difference = np.abs(resized_FCHW[0].permute(1, 2, 0).numpy().astype(int) - expected_HWC)
    assert difference.max() <= 2
    assert difference.mean() < 0.02
    assert torch.equal(
        resize_FCHW(frames_FCHW.contiguous(), spec), resized_FCHW
    )  # the memory's order is no matter


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_the_matrix_products_for_accelerators_are_pillows_too(height: int, width: int, size: int) -> None:
    pixels_HWC = picture(height, width)
    frames_FCHW = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None]
    resized_FCHW = _two_passes(frames_FCHW, size, size)
    expected_HWC = by_pillow(pixels_HWC, PixelSpec(size, HALF, HALF)).astype(int)
    difference = np.abs(resized_FCHW[0].permute(1, 2, 0).numpy().astype(int) - expected_HWC)
    assert difference.max() <= 2
    assert difference.mean() < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resize", ["squash", "shortest_crop"])
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_resizing_on_a_gpu(height: int, width: int, size: int, resize: str) -> None:
    spec = PixelSpec(size, HALF, HALF, resize)
    frames_FCHW = torch.from_numpy(picture(height, width)).permute(2, 0, 1).expand(40, -1, -1, -1)
    expected_FCHW = resize_FCHW(frames_FCHW, spec).int()
    with torch.autocast("cuda", torch.bfloat16):
        resized_FCHW = resize_FCHW(frames_FCHW.cuda(), spec)
    assert resized_FCHW.is_cuda
    difference_FCHW = (resized_FCHW.cpu().int() - expected_FCHW).abs()
    assert difference_FCHW.max() <= 2
    assert difference_FCHW.float().mean() < 0.05  # each of the two is within 0.02 of Pillow


def test_no_frames_stay_no_frames() -> None:
    spec = PixelSpec(8, HALF, HALF)
    assert resize_FCHW(torch.empty(0, 3, 16, 16, dtype=torch.uint8), spec).shape == (0, 3, 8, 8)


def test_normalising() -> None:
    spec = PixelSpec(2, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    frames_FCHW = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    normal_FCHW = normalise(frames_FCHW, spec)
    assert normal_FCHW.dtype == torch.float32
    assert normal_FCHW[:, :, 0, 0].tolist() == [[-1.0, -1.0, 0.0], [1.0, 3.0, 1.0]]
    assert normalise(frames_FCHW, spec, torch.bfloat16).dtype == torch.bfloat16


def test_half_normalisation_is_the_published_one() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    published = levels.float() / 127.5 - 1
    assert (normalise(levels, PixelSpec(16, HALF, HALF)) - published).abs().max() < 2 * math.ulp(1.0) * 2**29


def test_normalised_pixels_do_not_follow_the_default_precision() -> None:
    frames_FCHW = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    spec = PixelSpec(8, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    plain = normalise(frames_FCHW, spec, torch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(normalise(frames_FCHW, spec, torch.float64), plain)
    finally:
        torch.set_default_dtype(torch.float32)
