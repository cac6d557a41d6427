"""One ratio, one meaning: what it becomes on a grid, and what is said when it does not fit."""

from dataclasses import astuple

import pytest

from vxl.compressor.base import CompressorConfig, plan
from vxl.compressor.dts import DTSConfig
from vxl.compressor.none import UncompressedConfig
from vxl.compressor.plan import CompressorPlan
from vxl.compressor.pool import PoolConfig
from vxl.errors import ConfigError


@pytest.mark.parametrize(
    ("ratio", "temporal", "spatial"),
    [(1, 1, 1), (2, 2, 1), (4, 4, 1), (8, 8, 1), (16, 4, 2), (32, 8, 2), (36, 4, 3), (64, 4, 4), (72, 8, 3)],
)
def test_dts_takes_four_frames_where_it_can(ratio: int, temporal: int, spatial: int) -> None:
    tokens = (24 // spatial) ** 2
    assert plan(DTSConfig(ratio=ratio), 24) == CompressorPlan(temporal, tokens, temporal, spatial, ratio)


@pytest.mark.parametrize(
    ("ratio", "temporal", "spatial"), [(1, 1, 1), (2, 2, 1), (4, 1, 2), (8, 2, 2), (16, 1, 4), (64, 1, 8)]
)
def test_pool_takes_single_frames_where_it_can(ratio: int, temporal: int, spatial: int) -> None:
    shape = plan(PoolConfig(ratio=ratio), 24)
    assert (shape.temporal, shape.spatial, shape.frames_per_group) == (temporal, spatial, temporal)


@pytest.mark.parametrize(
    ("config", "grid", "expected"),
    [
        (DTSConfig(ratio=16, temporal=1), 24, (1, 36, 1, 4, 16)),
        (DTSConfig(ratio=32, temporal=2), 24, (2, 36, 2, 4, 32)),
        (DTSConfig(ratio=16, spatial=4), 24, (1, 36, 1, 4, 16)),
        (DTSConfig(ratio=8, temporal=2, spatial=2), 4, (2, 4, 2, 2, 8)),
        (DTSConfig(ratio=16, grid=24), 27, (4, 144, 4, 2, 16)),
        (PoolConfig(ratio=12, temporal=3), 4, (3, 4, 3, 2, 12)),
        (PoolConfig(ratio=4, grid=24), 27, (1, 144, 1, 2, 4)),
        (UncompressedConfig(), 27, (1, 729, 1, 1, 1)),
    ],
)
def test_overrides(config: CompressorConfig, grid: int, expected: tuple[int, ...]) -> None:
    assert astuple(plan(config, grid)) == expected


def test_counts_of_a_video_whose_last_group_is_short() -> None:
    shape = plan(DTSConfig(ratio=16), 24)
    assert [(shape.groups(n), shape.tokens(n)) for n in (0, 1, 4, 5)] == [
        (0, 0),
        (1, 144),
        (1, 144),
        (2, 288),
    ]
    assert plan(DTSConfig(ratio=16, grid=24), 27).grid == 24


@pytest.mark.parametrize(
    ("config", "grid", "message"),
    [
        (
            DTSConfig(ratio=6),
            4,
            "compressor.ratio=6 does not fit a grid of 4 x 4 patches.\n"
            "  ratios that fit: 1, 2, 4, 8, 16, 32, 64, 128\n"
            "  e.g.  compressor.ratio=4",
        ),
        (
            DTSConfig(ratio=16),
            27,
            "compressor.ratio=16 does not fit a grid of 27 x 27 patches.\n"
            "  ratios that fit: 1, 2, 4, 8, 9, 18, 36, 72, 81, 162, 324, 648, 729, 1458, 2916, 5832\n"
            "  e.g.  compressor.ratio=18\n"
            "  or resize the grid first:  compressor.grid=24",
        ),
        (
            DTSConfig(ratio=16, temporal=4, spatial=1),
            4,
            "compressor.ratio=16 compressor.temporal=4 compressor.spatial=1 does not fit a grid of 4 x 4 "
            "patches.\n"
            "  ratios that fit: 4\n"
            "  e.g.  compressor.ratio=4",
        ),
        (
            DTSConfig(ratio=3, temporal=3),
            4,
            "compressor.ratio=3 compressor.temporal=3 does not fit a grid of 4 x 4 patches.\n"
            "  temporal strides of this compressor: 1, 2, 4, 8\n"
            "  e.g.  compressor.temporal=null",
        ),
        (
            PoolConfig(ratio=9, spatial=3),
            4,
            "compressor.ratio=9 compressor.spatial=3 does not fit a grid of 4 x 4 patches.\n"
            "  spatial pools that divide the grid: 1, 2, 4\n"
            "  e.g.  compressor.spatial=null",
        ),
        (
            UncompressedConfig(ratio=16),
            4,
            "compressor.ratio=16, but compressor=none keeps every patch.\n"
            "  allowed: 1\n"
            "  e.g.  compressor=none compressor.ratio=1  or  compressor=pool compressor.ratio=16",
        ),
    ],
)
def test_misfits_say_what_fits(config: CompressorConfig, grid: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(config, grid)
    assert str(caught.value) == message


@pytest.mark.parametrize("grid", [4, 16, 24, 27])
def test_every_ratio_that_a_message_lists_fits(grid: int) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(DTSConfig(ratio=7), grid)
    listed = str(caught.value).split("ratios that fit: ")[1].split("\n")[0]
    for ratio in map(int, listed.split(", ")):
        assert plan(DTSConfig(ratio=ratio), grid).ratio == ratio


@pytest.mark.parametrize("key", ["ratio", "temporal", "spatial", "grid", "slice"])
def test_nothing_counts_to_zero(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}=0 is not positive"):
        DTSConfig(**{key: 0})
