"""What figures of the studies share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from studies.baselines import SINGLE
from studies.member import BLIND


def bars(axis: Any, rows: Sequence[dict[str, Any]], x: Sequence[float], label: str, colour: str) -> None:
    """Accuracies with their intervals, in per cent, and a dash for each seed."""
    y = [100 * row["accuracy"] for row in rows]
    ends = [row["interval"] or (row["accuracy"], row["accuracy"]) for row in rows]
    lengths = [[value - 100 * low for value, (low, _) in zip(y, ends, strict=True)]]
    lengths += [[100 * high - value for value, (_, high) in zip(y, ends, strict=True)]]
    axis.errorbar(x, y, yerr=lengths, color=colour, marker="o", capsize=3, label=label, linewidth=1.5)
    for place, row in zip(x, rows, strict=True):
        each = [100 * value for value in row["seeds"].values()]
        axis.plot([place] * len(each), each, color=colour, marker="_", markersize=14, linestyle="none")


def mark_baselines(axis: Any, numbers: dict[str, Any], *, upright: bool = False) -> None:
    """Lines where chance, a blind model and a single frame lie, named in the legend.

    Args:
        axis: Where.
        numbers: What results.json holds.
        upright: Accuracies lie along x.
    """
    line = axis.axvline if upright else axis.axhline
    words = {BLIND: ("blind", "tab:brown"), SINGLE: ("a single frame", "tab:purple")}
    for name, row in numbers["baselines"].items():
        text, colour = words[name]
        line(100 * row["accuracy"], color=colour, linestyle="--", linewidth=1, label=text)
    if numbers["chance"] is not None:
        line(100 * numbers["chance"], color="black", linestyle=":", linewidth=1.5, label="chance")


def draw_rows(numbers: dict[str, Any], labels: Sequence[str], path: Path) -> None:
    """A figure of settings one below the other: accuracy, its interval, and a tick for each seed."""
    rows = numbers["rows"]
    figure, axis = plt.subplots(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        low, high = row["interval"] or (row["accuracy"], row["accuracy"])
        ends = [[100 * (row["accuracy"] - low)], [100 * (high - row["accuracy"])]]
        axis.errorbar([100 * row["accuracy"]], [place], xerr=ends, color="tab:blue", marker="o", capsize=3)
        each = [100 * value for value in row["seeds"].values()]
        axis.plot(each, [place] * len(each), color="tab:blue", marker="|", markersize=11, linestyle="none")
    mark_baselines(axis, numbers, upright=True)
    axis.set_yticks(range(len(rows)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("right answers, %, with 95 % intervals; ticks: seeds")
    axis.grid(alpha=0.3, axis="x")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


def axis_of_shares(axis: Any, shares: Sequence[float], label: str) -> None:
    """An axis of what is kept, by powers of two: 1/2, 1/4, ..."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(shares, ["1" if share == 1 else f"1/{round(1 / share)}" for share in shares])
    axis.set_xlabel(label)
    axis.grid(alpha=0.3)


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure and lets it go."""
    figure.savefig(path, dpi=150)
    plt.close(figure)
