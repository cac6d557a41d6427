"""Parallel coordinates: every member as a line over what differs and what came out."""

from vxl.compare.comparison import Comparison
from vxl.compare.differences import last
from vxl.compare.page.drawing import GREY, Figure, figure, note, number, plain
from vxl.compare.page.pareto import joined


def parallel(comparison: Comparison) -> Figure | None:
    """Every member as a line over the differing keys and the numbers, axes from least to most."""
    columns = [
        column for column in comparison.columns if column.table == "results" or column.heading in _ON_AXES
    ]
    axes: list[tuple[str, list[float | None], list[tuple[float, str]]]] = []
    for key in comparison.keys:
        texts = [member.differences[key] for member in comparison.members]
        order = sorted(set(texts), key=lambda text: (number(text) is None, number(text) or 0.0, text))
        if len(order) < 2:
            continue
        share = {text: at / (len(order) - 1) for at, text in enumerate(order)}
        labels = order if len(order) <= 12 else [order[0], order[-1]]
        axes.append((last(key), [share[text] for text in texts], [(share[text], text) for text in labels]))
    for column in columns:
        values = [column.value(member) for member in comparison.members]
        numbers = [value for value in values if value is not None]
        if len(set(numbers)) < 2:
            continue
        low, high = min(numbers), max(numbers)
        shares = [None if value is None else (value - low) / (high - low) for value in values]
        axes.append((column.name, shares, [(0.0, column.text(low)), (1.0, column.text(high))]))
    if len(axes) < 2 or len(comparison.members) < 2:
        return None
    _, _, colours = joined(comparison, comparison.settings)
    of_member = {id(m): colours[id(s)] for s in comparison.settings for m in s.members}
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": list(range(len(axes))),
            "y": [shares[at] for _, shares, _ in axes],
            "line": {"color": of_member[id(member)], "width": 1.5},
            "marker": {"size": 4},
            "opacity": 0.7 if len(comparison.members) <= 60 else 0.3,
            "hovertext": plain(member.name),
            "hoverinfo": "text",
            "connectgaps": False,
        }
        for at, member in enumerate(comparison.members)
    ]
    notes = [
        note(plain(text), at, share, xanchor="left", yanchor="middle", xshift=6, size=10)
        for at, (_, _, ticks) in enumerate(axes)
        for share, text in ticks
    ]
    lines = [
        {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"color": GREY, "width": 1}}
        for at in range(len(axes))
    ]
    names = [plain(name) for name, _, _ in axes]
    return figure(
        data,
        380,
        margin={"l": 24, "r": 64, "t": 16, "b": 80},
        xaxis={
            "tickvals": list(range(len(axes))),
            "ticktext": names,
            "showgrid": False,
            "zeroline": False,
            "range": [-0.15, len(axes) - 0.4],
            "automargin": True,
        },
        yaxis={"visible": False, "range": [-0.06, 1.06]},
        annotations=notes,
        shapes=lines,
        meta={"least": 72 * len(axes)},
    )


_ON_AXES = ("cache", "tokens a frame", "first token ms", "train s")
