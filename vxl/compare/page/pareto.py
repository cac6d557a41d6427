"""Scores against a cost: who is beaten by another in both, and what a knob does."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.differences import last
from vxl.compare.member import AXES, Cost
from vxl.compare.page.drawing import GREY, Figure, axis, colour, figure, note, number, plain
from vxl.compare.setting import Reached, Setting


def costs_of(comparison: Comparison, benchmark: str) -> list[Cost]:
    """The costs that settings can be drawn against: those that are known of any."""
    return [cost for cost in AXES if any(s.cost(cost, benchmark) is not None for s in comparison.settings)]


def pareto(comparison: Comparison, benchmark: str, cost: Cost) -> Figure | None:
    """Scores with intervals against a cost; None where no setting has both."""
    points = [
        (value, reached, setting)
        for setting in comparison.settings
        if (reached := setting.reached(benchmark)) is not None
        and (value := setting.cost(cost, benchmark)) is not None
    ]
    if not points:
        return None
    scale = points[0][1].score.scale
    beaten = {
        id(s)
        for x, r, s in points
        if any(a <= x and b.mean >= r.mean and (a < x or b.mean > r.mean) for a, b, _ in points)
    }
    few = len(points) <= 14 and _are_apart([(x, r) for x, r, _ in points])
    data: list[dict[str, Any]] = []
    knob, lines, colour_of = joined(comparison, [setting for _, _, setting in points])
    place = {id(s): (x, scale * r.mean) for x, r, s in points}
    for at, line in enumerate(lines):
        ends = [place[id(setting)] for setting in line]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [x for x, _ in ends],
                "y": [y for _, y in ends],
                "line": {"color": colour(at, len(lines)), "width": 1.5},
                "opacity": 0.45,
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
        if 1 < len(lines) <= 8 and (len(points) > len(lines) or not few):
            data.append(_legend(plain(_shared(line)), colour(at, len(lines))))
    for faded in (True, False):
        drawn_points = [(x, r, s) for x, r, s in points if (id(s) in beaten) == faded]
        if not drawn_points:
            continue
        colours = [colour_of[id(s)] for _, _, s in drawn_points]
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text" if few else "markers",
                "x": [x for x, _, _ in drawn_points],
                "y": [scale * r.mean for _, r, _ in drawn_points],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [
                        scale * (r.interval.high - r.mean) if r.interval else 0 for _, r, _ in drawn_points
                    ],
                    "arrayminus": [
                        scale * (r.mean - r.interval.low) if r.interval else 0 for _, r, _ in drawn_points
                    ],
                    "thickness": 1.2,
                    "width": 3 if len(points) <= 60 else 0,
                    "color": GREY,
                },
                "text": [plain(s.name) if few else "" for _, _, s in drawn_points],
                "textposition": "top right",
                "textfont": {"size": 11},
                "cliponaxis": False,
                "hovertext": [
                    f"{plain(s.name)}<br>{r.text()}<br>{cost.what}: {cost.amount(x)}"
                    for x, r, s in drawn_points
                ],
                "hoverinfo": "text",
                "marker": {
                    "size": 9 if few else 7,
                    "color": colours,
                    "symbol": "circle-open" if faded else "circle",
                    "line": {"width": 1.5, "color": colours},
                },
                "opacity": 0.4 if faded else 1,
                "showlegend": False,
            }
        )
    score = points[0][1].score
    shapes: list[Figure] = []
    notes: list[Figure] = []
    levels = {"chance": score.chance, "most frequent letter": score.majority}
    if score.chance is not None and score.chance == score.majority:
        levels = {"chance, and the most frequent letter": score.chance}
    known_levels = [level for level in levels.values() if level is not None]
    for name, level in levels.items():
        if level is not None:
            below = level == min(known_levels) and len(known_levels) > 1  # so that two that are near part
            shapes.append(
                {
                    "type": "line",
                    "xref": "paper",
                    "x0": 0,
                    "x1": 1,
                    "y0": scale * level,
                    "y1": scale * level,
                    "line": {"color": GREY, "width": 1, "dash": "dot"},
                }
            )
            side = "top" if below else "bottom"
            notes.append(note(name, 1, scale * level, xref="paper", xanchor="right", yanchor=side))
    values = [x for x, _, _ in points]
    wide = min(values) > 0 and max(values) / min(values) > 20
    close = min(values) > 0 and max(values) / min(values) < 2  # from 0 on they would all stand in a corner
    notes += ends_of(lines, knob, place, wide) if knob is not None and not few else []
    return figure(
        data,
        440,
        xaxis=axis(
            cost.label, type="log" if wide else "linear", **({} if wide or close else {"rangemode": "tozero"})
        ),
        yaxis=axis(f"{benchmark}: {score.metric}" + (", %" if scale == 100 else "")),
        shapes=shapes,
        annotations=notes,
        showlegend=True,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
    )


def ends_of(
    lines: Sequence[Sequence[Setting]], knob: str, place: Mapping[int, tuple[float, float]], log: bool
) -> list[Figure]:
    """`ratio=4` at the two ends of each line; of names that would lie over each other the first."""
    left, right = min(x for x, _ in place.values()), max(x for x, _ in place.values())
    high = max(y for _, y in place.values()) - min(y for _, y in place.values())
    named: list[tuple[float, float]] = []
    notes = []
    for line in lines:
        ends = sorted((line[0], line[-1]), key=lambda setting: place[id(setting)][1])
        for setting, side in zip(ends if len(line) > 1 else [], ("top", "bottom"), strict=False):
            x, y = place[id(setting)]
            share = (x - left) / (right - left) if right > left else 0.0
            if any(abs(share - a) <= 0.2 and abs(y - b) <= 0.15 * high for a, b in named):
                continue
            named.append((share, y))
            text = f"{last(knob)}={plain(setting.differences[knob])}"
            anchor: dict[str, Any] = (
                {"xanchor": "right", "xshift": -5} if share > 0.8 else {"xanchor": "left", "xshift": 5}
            )
            notes.append(note(text, math.log10(x) if log else x, y, yanchor=side, **anchor))
    return notes


def joined(
    comparison: Comparison, settings: Sequence[Setting]
) -> tuple[str | None, list[list[Setting]], dict[int, str]]:
    """(knob, lines, colour by setting): settings that differ in the knob alone stand on one line.

    The knob is the key with the most different numbers.
    """
    numeric = {
        key: len({s.differences[key] for s in settings})
        for key in comparison.keys
        if key != "seed" and any(number(s.differences[key]) is not None for s in settings)
    }
    knob = max(numeric, key=lambda key: numeric[key], default=None)
    lines: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        rest = tuple((k, v) for k, v in setting.differences.items() if k not in (knob, "seed"))
        lines.setdefault(rest if knob is not None else (setting.name,), []).append(setting)
    colours = {}
    for at, line in enumerate(lines.values()):
        if knob is not None:
            line.sort(key=lambda setting: number(setting.differences[knob]) or 0.0)
        for setting in line:
            colours[id(setting)] = colour(at, len(lines))
    return knob, list(lines.values()), colours


def _are_apart(points: Sequence[tuple[float, Reached]]) -> bool:
    """Whether names beside the points would not lie over each other, where the intervals are drawn, too."""
    score = points[0][1].score
    levels = [level for level in (score.chance, score.majority) if level is not None]
    levels += [end for _, r in points for end in (r.interval or (r.mean, r.mean))]
    wide, high = max(x for x, _ in points) - min(x for x, _ in points), max(levels) - min(levels)
    return not any(
        abs(x - other_x) <= 0.1 * wide and abs(r.mean - other.mean) <= 0.06 * high
        for at, (x, r) in enumerate(points)
        for other_x, other in points[:at]
    )


def _legend(name: str, own: str) -> dict[str, Any]:
    """A line of the legend by itself: that of a pale line would be as pale."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [None],
        "y": [None],
        "line": {"color": own, "width": 2},
        "marker": {"size": 9, "color": own},
        "name": name,
        "hoverinfo": "skip",
        "showlegend": True,
    }


def _shared(line: Sequence[Setting]) -> str:
    """What the settings of one line have in common: `kv=snapkv`."""
    first, *others = [setting.differences for setting in line]
    same = [k for k, v in first.items() if k != "seed" and v != "-" and all(o[k] == v for o in others)]
    return " ".join(f"{last(key)}={first[key]}" for key in same) if others else line[0].name
