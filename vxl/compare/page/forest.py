"""Paired differences as a forest plot: what was shown, and what could have been."""

from collections.abc import Sequence
from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.page.drawing import COLOURS, GREY, SHOWN, Figure, axis, figure, plain
from vxl.compare.pairs import Pair
from vxl.compare.words import why_identical


def forest(comparison: Comparison, benchmark: str) -> Figure | None:
    """Differences against the base with intervals, behind each the range in which nothing could be shown."""
    pairs = [p for p in comparison.pairs if p.benchmark == benchmark and p.test is not None]
    if not pairs:
        return None
    pairs.sort(key=_difference)
    pairs = pairs[-SHOWN:]
    apart = [pair for pair in pairs if not pair.identical]
    traces = [
        _too_small(pairs),
        _points([p for p in apart if not p.shown], comparison.tests, "may be chance", GREY),
        _points([p for p in apart if p.shown], comparison.tests, "shown at 5 %", COLOURS[1]),
        _points(
            [p for p in pairs if p.identical], comparison.tests, "same score on every question", COLOURS[0]
        ),
    ]
    names = [plain(pair.other.name) for pair in pairs]
    return figure(
        [trace for trace in traces if trace is not None],
        120 + 26 * len(pairs),
        showlegend=True,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        xaxis=axis("points"),
        yaxis={"automargin": True, "categoryorder": "array", "categoryarray": names, "type": "category"},
        shapes=[
            {
                "type": "line",
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "x0": 0,
                "x1": 0,
                "line": {"color": GREY, "width": 1},
            }
        ],
    )


def _too_small(pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """A grey bar a row: differences that the row's comparison would not have shown."""
    known = [(plain(pair.other.name), 100 * pair.detectable) for pair in pairs if pair.detectable]
    if not known:
        return None
    return {
        "type": "bar",
        "orientation": "h",
        "y": [name for name, _ in known],
        "base": [-limit for _, limit in known],
        "x": [2 * limit for _, limit in known],
        "width": 0.86,
        "marker": {"color": GREY, "line": {"width": 0}},
        "opacity": 0.2,
        "hoverinfo": "skip",
        "name": "too small to be shown",
    }


def _points(pairs: Sequence[Pair], tests: int, name: str, own: str) -> dict[str, Any] | None:
    """Differences of one verdict with their intervals."""
    if not pairs:
        return None
    means = [100 * _difference(pair) for pair in pairs]
    ends = [p.interval or (_difference(p), _difference(p)) for p in pairs]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": means,
        "y": [plain(pair.other.name) for pair in pairs],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [100 * end[1] - mean for end, mean in zip(ends, means, strict=True)],
            "arrayminus": [mean - 100 * end[0] for end, mean in zip(ends, means, strict=True)],
            "thickness": 2,
            "width": 4,
        },
        "marker": {"size": 9, "symbol": "square", "color": own},
        "hovertext": [f"{plain(pair.other.name)}<br>{_hover(pair, tests)}" for pair in pairs],
        "hoverinfo": "text",
        "name": name,
    }


def _hover(pair: Pair, tests: int) -> str:
    if pair.identical:
        why = why_identical(pair)
        return "same score on every question" + (f":<br>{why}" if why else "")
    together = f", corrected for {tests} comparisons {pair.adjusted:.2g}" if tests > 1 else ""
    return f"{100 * _difference(pair):+.1f} points, p = {pair.p_value:.2g}{together}"


def _difference(pair: Pair) -> float:
    assert pair.test is not None
    return pair.test.estimate.mean
