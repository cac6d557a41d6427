"""Pooling behind the projector, and the projector alone."""

import pytest
import torch
import torch.nn.functional as F

from vxl.compressor.none import Uncompressed, UncompressedConfig
from vxl.compressor.pool import Pool, PoolConfig, pool_squares

PATCHES = torch.randn(6, 16, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", ["mean", "max"])
def test_pool_is_two_dimensional_pooling_of_projected_patches(how: str) -> None:
    pool = Pool(PoolConfig(ratio=4, pool=how), vision_width=64, grid=4, llm_width=24)
    image = pool.projector(PATCHES).unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    expected = F.avg_pool2d(image, 2) if how == "mean" else F.max_pool2d(image, 2)
    torch.testing.assert_close(pool(PATCHES), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("how", ["mean", "max"])
def test_frames_of_a_group_are_pooled_with_their_patches(how: str) -> None:
    tokens_GFPD = torch.randn(2, 3, 16, 8)
    pooled = pool_squares(tokens_GFPD, 2, how)
    square = tokens_GFPD[1][:, [2, 3, 6, 7]].flatten(0, 1)  # upper right, of all three frames
    expected = square.mean(0) if how == "mean" else square.amax(0)
    torch.testing.assert_close(pooled[1, 1], expected)


def test_none_is_the_projector() -> None:
    none = Uncompressed(UncompressedConfig(), vision_width=64, grid=4, llm_width=24)
    assert torch.equal(none(PATCHES), none.projector(PATCHES))


def test_the_grid_is_resized_with_half_pixel_centres() -> None:
    none = Uncompressed(UncompressedConfig(grid=2), vision_width=64, grid=4, llm_width=24)
    # From 4 x 4 to 2 x 2 every new patch lies in the middle of four.
    middle = PATCHES.unflatten(1, (2, 2, 2, 2)).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(none(PATCHES), none.projector(middle))
