"""Paired differences as a forest plot: what was shown, and what could have been."""

from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.page.drawing import COLOURS, GREY, SHOWN, Figure, axis, figure, plain
from vxl.compare.pairs import Pair, detectable


def forest(comparison: Comparison, benchmark: str) -> Figure | None:
    """Differences against the base with intervals, and the smallest that would have been seen."""
    pairs = [p for p in comparison.pairs if p.benchmark == benchmark and p.test is not None]
    if not pairs:
        return None
    pairs.sort(key=_difference)
    pairs = pairs[-SHOWN:]
    names = [plain(pair.other.name) for pair in pairs]
    data: list[dict[str, Any]] = []
    for significant in (False, True):
        points = [(name, pair) for name, pair in zip(names, pairs, strict=True) if pair.shown == significant]
        if not points:
            continue
        ends = [p.interval or (_difference(p), _difference(p)) for _, p in points]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * _difference(p) for _, p in points],
                "y": [name for name, _ in points],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (e[1] - _difference(p)) for (_, p), e in zip(points, ends, strict=True)],
                    "arrayminus": [
                        100 * (_difference(p) - e[0]) for (_, p), e in zip(points, ends, strict=True)
                    ],
                    "thickness": 2,
                    "width": 4,
                },
                "marker": {"size": 9, "symbol": "square", "color": COLOURS[1] if significant else GREY},
                "hovertext": [
                    f"{name}<br>{100 * _difference(p):+.1f} points, p = {p.adjusted:.2g} (Holm)"
                    for name, p in points
                ],
                "hoverinfo": "text",
                "name": "shown at 5 % (Holm)" if significant else "may be chance",
            }
        )
    least = detectable(pairs)
    shapes = [
        {
            "type": "line",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": 0,
            "x1": 0,
            "line": {"color": GREY, "width": 1},
        }
    ]
    if least:
        limit = 100 * least
        shapes.append(
            {
                "type": "rect",
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "x0": -limit,
                "x1": limit,
                "line": {"width": 0},
                "fillcolor": GREY,
                "opacity": 0.14,
                "layer": "below",
            }
        )
    return figure(
        data,
        110 + 26 * len(pairs),
        showlegend=True,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
        xaxis=axis("points"),
        yaxis={"automargin": True, "categoryorder": "array", "categoryarray": names, "type": "category"},
        shapes=shapes,
    )


def _difference(pair: Pair) -> float:
    assert pair.test is not None
    return pair.test.estimate.mean
