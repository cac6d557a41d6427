"""Paired differences as a forest plot: what was shown, and what could have been."""

from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.page.drawing import COLOURS, GREY, SHOWN, Figure, axis, figure, plain
from vxl.compare.pairs import Pair, detectable


def forest(found: Comparison, benchmark: str) -> Figure | None:
    """Differences against the base with intervals, and the smallest that would have been seen."""
    pairs = [p for p in found.pairs if p.benchmark == benchmark and p.test is not None]
    if not pairs:
        return None
    pairs.sort(key=_difference)
    pairs = pairs[-SHOWN:]
    names = [plain(pair.other.name) for pair in pairs]
    data: list[dict[str, Any]] = []
    for shown in (False, True):
        chosen = [(name, pair) for name, pair in zip(names, pairs, strict=True) if pair.shown == shown]
        if not chosen:
            continue
        ends = [p.interval or (_difference(p), _difference(p)) for _, p in chosen]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * _difference(p) for _, p in chosen],
                "y": [name for name, _ in chosen],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (e[1] - _difference(p)) for (_, p), e in zip(chosen, ends, strict=True)],
                    "arrayminus": [
                        100 * (_difference(p) - e[0]) for (_, p), e in zip(chosen, ends, strict=True)
                    ],
                    "thickness": 2,
                    "width": 4,
                },
                "marker": {"size": 9, "symbol": "square", "color": COLOURS[1] if shown else GREY},
                "hovertext": [
                    f"{name}<br>{100 * _difference(p):+.1f} points, p = {p.adjusted:.2g} (Holm)"
                    for name, p in chosen
                ],
                "hoverinfo": "text",
                "name": "shown at 5 % (Holm)" if shown else "may be chance",
            }
        )
    seen = detectable(pairs)
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
    if seen:
        limit = 100 * seen
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
