"""Training curves: a line a setting, its seeds as a band."""

from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.differences import last
from vxl.compare.page.drawing import Figure, axis, colour, figure, plain
from vxl.run.find import Run
from vxl.run.metrics import MetricsFile

CURVES = ("val/accuracy", "val/loss", "loss")
"""The numbers that are drawn, of those that were logged."""
Series = dict[int, float]


def curves(comparison: Comparison, most: int = 100) -> dict[str, Figure]:
    """Each number of training by step, a line a setting, its seeds as a band from the least to the most.

    Args:
        comparison: The comparison; evaluations of one run under changed parts share its curve.
        most: Steps at most of a line.
    """
    settings = _trained(comparison)
    series_of = {run.name: _read(run) for runs in settings.values() for run in runs}
    figures = {}
    for name in CURVES:
        data: list[dict[str, Any]] = []
        for label, runs in settings.items():
            series = [own for run in runs if (own := series_of[run.name].get(name))]
            if series:
                data += _line(label, series, colour(list(settings).index(label), len(settings)), most)
        if data:
            figures[name] = figure(
                data,
                360 + 14 * min(12, len(settings)),  # on a phone each has a line of the legend
                showlegend=len(settings) <= 12,
                legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
                xaxis=axis("step"),
                yaxis=axis(name),
            )
    return figures


def _line(label: str, series: list[Series], own: str, most: int) -> list[dict[str, Any]]:
    """The mean over the seeds, and their band where there are several."""
    longest = max(max(one) for one in series)
    series = [one for one in series if max(one) == longest]  # a run that stopped early would cut the others
    steps = sorted(set.intersection(*map(set, series)))
    if len(steps) > most:
        steps = [steps[round(at * (len(steps) - 1) / (most - 1))] for at in range(most)]
    values = [[one[step] for one in series if step in one] for step in steps]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": steps,
        "y": [_short(sum(numbers) / len(numbers)) for numbers in values],
        "line": {"color": own, "width": 2},
        "name": plain(label) + (f" ({len(series)} seeds)" if len(series) > 1 else ""),
        "hovertemplate": "%{y:.4g} at step %{x}<extra>" + plain(label) + "</extra>",
    }
    if len(series) == 1:
        return [line]
    ends = [*(max(numbers) for numbers in values), *(min(numbers) for numbers in reversed(values))]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": [*steps, *reversed(steps)],
        "y": [_short(value) for value in ends],
        "fill": "toself",
        "fillcolor": own + "2e",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [band, line]


def _trained(comparison: Comparison) -> dict[str, list[Run]]:
    """The runs of each training setting, by its name: what evaluations changed is none of it."""
    exchanged = {
        word.partition("=")[0] for m in comparison.members for word in m.change.split(",") if "=" in word
    }
    settings: dict[str, list[Run]] = {}
    for member in comparison.members:
        own = [(k, v) for k, v in member.differences.items() if k not in exchanged | {"seed"} and v != "-"]
        label = " ".join(f"{last(key)}={value}" for key, value in own)
        if not label and "seed" in member.differences:
            label = "all"  # they differ by nothing else
        if not 0 < len(own) <= 3 and label != "all":
            label = member.run.path.name
        if "seed" not in member.differences and member.run not in settings.get(label, [member.run]):
            label = member.run.name
        runs = settings.setdefault(label, [])
        if member.run not in runs:
            runs.append(member.run)
    return settings


def _read(run: Run) -> dict[str, Series]:
    """The curves of one run by name, from one reading of its metrics.csv."""
    series: dict[str, Series] = {}
    for row in MetricsFile(run.path / "metrics.csv").rows():
        for name in CURVES:
            try:
                series.setdefault(name, {})[int(row["step"])] = float(row[name])
            except (KeyError, ValueError):
                continue
    return series


def _short(value: float) -> float:
    return float(f"{value:.4g}")
