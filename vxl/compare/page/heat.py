"""Scores by kind, length or depth as heat maps."""

from collections.abc import Collection
from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.page.drawing import SHOWN, Figure, figure, number, plain
from vxl.compare.setting import Setting


def heat(comparison: Comparison, benchmark: str, label: str) -> Figure | None:
    """Scores by the values of a label (kind, duration, depth), a row a setting."""
    rows = ranked(comparison, benchmark)[:SHOWN]
    tables = [(setting, by_label(setting, benchmark, label)) for setting in rows]
    values = list(dict.fromkeys(value for _, table in tables for value in table))
    if len(values) < 2:
        return None
    values.sort(key=lambda value: (number(value) is None, number(value) or 0.0))
    z = [[100 * table[v][0] if v in table else None for v in values] for _, table in reversed(tables)]
    texts = [
        [f"{100 * table[v][0]:.0f} % of {table[v][1]}" if v in table else "" for v in values]
        for _, table in reversed(tables)
    ]
    counts = [{table[v][1] for _, table in tables if v in table} for v in values]
    names = [f"{plain(v)} ({span(counts[at])})" for at, v in enumerate(values)]
    return figure(
        [_map(z, names, [plain(s.name) for s, _ in reversed(tables)], texts)],
        96 + 26 * len(rows),
        margin={"l": 56, "r": 8, "t": 56, "b": 8},
        xaxis={
            "type": "category",
            "side": "top",
            "automargin": True,
            "tickangle": -40 if len(values) > 6 else 0,
        },
        yaxis={"type": "category", "automargin": True},
        meta={"least": 180 + 46 * len(values)},
    )


def span(counts: Collection[int]) -> str:
    """`13`, or `3 to 9`."""
    least, most = min(counts), max(counts)
    return f"{least}" if least == most else f"{least} to {most}"


def needle(setting: Setting, benchmark: str) -> Figure | None:
    """The needle map of a setting: depth in rows, length in columns; None for other benchmarks."""
    cells: dict[tuple[str, str], list[float]] = {}
    for member in setting.members:
        for item in member.benchmarks.get(benchmark, {}).get("answers") or []:
            labels = item.get("labels", {}) if isinstance(item, dict) else {}
            if "minutes" in labels and "depth" in labels:
                cell = cells.setdefault((labels["minutes"][0], labels["depth"][0]), [])
                cell.append(float(item.get("score", item["right"])))
    if not cells:
        return None
    lengths = sorted({length for length, _ in cells}, key=float)
    depths = sorted({depth for _, depth in cells}, key=float)
    means = {cell: 100 * sum(comparison) / len(comparison) for cell, comparison in cells.items()}
    z = [[means.get((length, depth)) for length in lengths] for depth in depths]
    texts = [
        [
            f"{means[length, depth]:.0f} % of {len(cells[length, depth])}" if (length, depth) in means else ""
            for length in lengths
        ]
        for depth in depths
    ]
    return figure(
        [_map(z, [f"{length} min" for length in lengths], [f"{depth} %" for depth in depths], texts)],
        150 + 26 * len(depths),
        margin={"l": 64, "r": 8, "t": 8, "b": 56},
        xaxis={
            "type": "category",
            "title": {
                "text": f"{span({len(cell) for cell in cells.values()})} answers a cell",
                "standoff": 8,
            },
            "automargin": True,
        },
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "title": {"text": "depth", "standoff": 12},
            "automargin": True,
        },
    )


def ranked(comparison: Comparison, benchmark: str) -> list[Setting]:
    """Settings with a score, the best first."""
    means = [(r.mean, s) for s in comparison.settings if (r := s.reached(benchmark)) is not None]
    return [setting for _, setting in sorted(means, key=lambda pair: -pair[0])]


def by_label(setting: Setting, benchmark: str, label: str) -> dict[str, tuple[float, int]]:
    """{value of the label: (mean score over all seeds, questions of one seed)}."""
    groups: dict[str, list[float]] = {}
    seeds = 0
    for member in setting.members:
        answers = [
            a for a in member.benchmarks.get(benchmark, {}).get("answers") or [] if isinstance(a, dict)
        ]
        seeds += bool(answers)
        for item in answers:
            values = [item.get("kind", "")] if label == "kind" else item.get("labels", {}).get(label, [])
            for value in values:
                groups.setdefault(value, []).append(float(item.get("score", item["right"])))
    return {
        value: (sum(points) / len(points), len(points) // max(1, seeds)) for value, points in groups.items()
    }


def labels_of(comparison: Comparison, benchmark: str) -> list[str]:
    """Kind, and every other label whose values are few enough to be drawn."""
    values: dict[str, set[str]] = {}
    for member in comparison.members:
        for item in member.benchmarks.get(benchmark, {}).get("answers") or []:
            if isinstance(item, dict):
                values.setdefault("kind", set()).add(item.get("kind", ""))
                for name, several in item.get("labels", {}).items():
                    values.setdefault(name, set()).update(several)
    kinds = values.get("kind", set())
    return [
        n
        for n, comparison in values.items()
        if 1 < len(comparison) <= 24 and (n == "kind" or comparison != kinds)
    ]


def _map(z: list[Any], x: list[str], y: list[str], texts: list[list[str]]) -> dict[str, Any]:
    scale = [[0, "#c2476b"], [0.5, "#e3b54a"], [1, "#4fa888"]]
    return {
        "type": "heatmap",
        "z": z,
        "x": x,
        "y": y,
        "zmin": 0,
        "zmax": 100,
        "colorscale": scale,
        "showscale": False,
        "text": texts,
        "texttemplate": "%{z:.0f}",
        "textfont": {"color": "#111", "size": 11},
        "hovertemplate": "%{y}<br>%{x}: %{text}<extra></extra>",
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
    }
