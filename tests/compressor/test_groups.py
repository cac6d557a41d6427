"""What holds for every compressor: groups are independent, shapes are the plan's, misfits are refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vxl.compressor.base import Compressor, CompressorConfig, plan
from vxl.compressor.dts import DTSConfig
from vxl.compressor.none import UncompressedConfig
from vxl.compressor.pool import PoolConfig
from vxl.errors import DataError
from vxl.option.build import build

CONFIGS = [
    DTSConfig(ratio=16),
    DTSConfig(ratio=8),
    DTSConfig(ratio=2),
    DTSConfig(ratio=1),
    DTSConfig(ratio=16, published_layout=True, published_relative_key=True, pool="max"),
    PoolConfig(ratio=4),
    PoolConfig(ratio=8, pool="max"),
    UncompressedConfig(),
]


def shaken(config: CompressorConfig, grid: int, width: int = 32) -> Compressor:
    """A compressor in float64 whose zero-initialised parts count."""
    torch.manual_seed(0)
    compressor = build(config, vision_width=width, grid=grid, llm_width=24).double().requires_grad_(False)
    for parameter in compressor.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return compressor


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{type(c).__name__}-{c.ratio}")
@settings(max_examples=12)
@given(
    grid=st.sampled_from([2, 4, 6]),
    resized=st.sampled_from([None, 2, 4]),
    pieces=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    slice_=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_pieces_batches_and_slices_change_nothing(
    config: CompressorConfig, grid: int, resized: int | None, pieces: list[int], slice_: int, seed: int
) -> None:
    compressor = shaken(replace(config, grid=resized), grid)
    shape = plan(compressor.config, grid)
    generator = torch.Generator().manual_seed(seed)
    groups = sum(pieces)
    patches_FPV = torch.randn(
        groups * shape.frames_per_group, grid**2, 32, dtype=torch.float64, generator=generator
    )
    whole_GKD = compressor(patches_FPV)
    assert whole_GKD.shape == (groups, shape.tokens_per_group, 24)
    assert groups * shape.tokens_per_group == compressor.tokens(len(patches_FPV))

    fed = [compressor(part) for part in patches_FPV.split([n * shape.frames_per_group for n in pieces])]
    torch.testing.assert_close(torch.cat(fed), whole_GKD, rtol=1e-11, atol=1e-11)

    others_FPV = torch.randn(patches_FPV.shape, dtype=torch.float64, generator=generator)
    batched_GKD = compressor(torch.cat([others_FPV, patches_FPV, others_FPV]))[groups : 2 * groups]
    torch.testing.assert_close(batched_GKD, whole_GKD, rtol=1e-11, atol=1e-11)

    compressor.config = replace(compressor.config, slice=slice_)
    torch.testing.assert_close(compressor(patches_FPV), whole_GKD, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("frames", [2, 4, 8])
@pytest.mark.parametrize("width", [32, 96])
@pytest.mark.parametrize(("grid", "spatial"), [(3, 1), (5, 5), (6, 3)])
def test_any_width_frames_and_grid(frames: int, width: int, grid: int, spatial: int) -> None:
    """In pieces, published switches or not; and every patch of every frame counts."""
    for published in (False, True):
        switches = {"published_layout": published, "published_relative_key": published}
        config = DTSConfig(ratio=frames * spatial**2, temporal=frames, spatial=spatial, **switches)
        compressor = shaken(config, grid, width)
        generator = torch.Generator().manual_seed(width)
        shape = (3 * frames, grid**2, width)
        patches_FPV = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        whole_GKD = compressor(patches_FPV)
        assert whole_GKD.shape == (3, (grid // spatial) ** 2, 24)
        parts = [compressor(part_FPV) for part_FPV in patches_FPV.split([frames, 2 * frames])]
        torch.testing.assert_close(torch.cat(parts), whole_GKD, rtol=1e-11, atol=1e-11)
        (gradient_FPV,) = torch.autograd.grad(whole_GKD[1].square().sum(), patches_FPV)
        reached_F = gradient_FPV.abs().amin(dim=(1, 2)) > 0
        assert reached_F.tolist() == [False] * frames + [True] * frames + [False] * frames


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{type(c).__name__}-{c.ratio}")
def test_gradients_reach_every_parameter(config: CompressorConfig) -> None:
    compressor = shaken(config, 4).requires_grad_(True)
    compressor(torch.randn(8, 16, 32, dtype=torch.float64)).square().sum().backward()
    silent = [name for name, parameter in compressor.named_parameters() if parameter.grad is None]
    assert silent == []


def test_a_video_that_fills_no_group_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        shaken(DTSConfig(), 4)(torch.zeros(10, 16, 32, dtype=torch.float64))
    assert str(caught.value) == (
        "10 frames do not fill groups of 4.\n"
        "  expected: a multiple of 4\n"
        "  repeat the last frame 2 times, to 12 frames"
    )


@pytest.mark.parametrize(
    ("patches", "width", "hint"),
    [(17, 32, "\n  a class token is no patch: vision.keep_class=false"), (16, 64, "")],
)
def test_patches_of_another_tower_are_refused(patches: int, width: int, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        shaken(DTSConfig(), 4)(torch.zeros(4, patches, width, dtype=torch.float64))
    assert str(caught.value) == (
        f"the compressor got {patches} patches of width {width} a frame.\n"
        f"  expected: 4 x 4 = 16 of width 32{hint}"
    )


def test_no_frames_give_no_tokens() -> None:
    assert shaken(PoolConfig(), 4)(torch.zeros(0, 16, 32, dtype=torch.float64)).shape == (0, 4, 24)
    assert shaken(DTSConfig(), 4)(torch.zeros(0, 16, 32, dtype=torch.float64)).shape == (0, 4, 24)
