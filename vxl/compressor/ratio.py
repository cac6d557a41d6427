"""From one number, `compressor.ratio`, to the frames and the square of patches that become one token."""

from collections.abc import Sequence
from math import isqrt

from vxl.compressor.base import CompressorConfig
from vxl.compressor.plan import CompressorPlan
from vxl.errors import ConfigError


def resolve(config: CompressorConfig, grid: int, strides: Sequence[int]) -> CompressorPlan:
    """The plan of the first temporal stride that leaves a k x k pool with k dividing the grid.

    Args:
        config: Its `temporal` and `spatial` override the search, its `grid` replaces the tower's.
        grid: Patches a side of the tower's grid.
        strides: Temporal strides that the compressor can do, the preferred one first.

    Raises:
        ConfigError: No stride fits; the message lists the ratios that do, with one to type.
    """
    side = config.grid or grid
    for temporal in strides:
        spatial = _square(config, side, temporal)
        if spatial is not None:
            return CompressorPlan(temporal, (side // spatial) ** 2, temporal, spatial, temporal * spatial**2)
    raise ConfigError(_misfit(config, grid, strides))


def _square(config: CompressorConfig, side: int, temporal: int) -> int | None:
    """k of the pool that stride `temporal` leaves, or None if it does not fit."""
    if config.temporal not in (None, temporal) or config.ratio % temporal:
        return None
    spatial = isqrt(config.ratio // temporal)
    exact = temporal * spatial**2 == config.ratio and side % spatial == 0
    return spatial if exact and config.spatial in (None, spatial) else None


def _misfit(config: CompressorConfig, grid: int, strides: Sequence[int]) -> str:
    """The message: what was asked for, what fits, what to type."""
    side = config.grid or grid
    temporals = [t for t in strides if config.temporal in (None, t)]
    spatials = [k for k in range(1, side + 1) if side % k == 0 and config.spatial in (None, k)]
    fit = sorted({t * k**2 for t in temporals for k in spatials})
    asked = "".join(
        f" compressor.{key}={value}"
        for key, value in (("temporal", config.temporal), ("spatial", config.spatial))
        if value is not None
    )
    lines = [f"compressor.ratio={config.ratio}{asked} does not fit a grid of {side} x {side} patches."]
    if not temporals:
        lines.append(f"  temporal strides of this compressor: {', '.join(map(str, sorted(strides)))}")
        lines.append("  e.g.  compressor.temporal=null")
    elif not spatials:
        squares = ", ".join(str(k) for k in range(1, side + 1) if side % k == 0)
        lines.append(f"  spatial pools that divide the grid: {squares}")
        lines.append("  e.g.  compressor.spatial=null")
    else:
        lines.append(f"  ratios that fit: {', '.join(map(str, fit))}")
        lines.append(
            f"  e.g.  compressor.ratio={min(fit, key=lambda ratio: (abs(ratio - config.ratio), ratio))}"
        )
    smaller = side - side % 8
    if config.grid is None and 0 < smaller < side:
        lines.append(f"  or resize the grid first:  compressor.grid={smaller}")
    return "\n".join(lines)
