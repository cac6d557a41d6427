"""Draws how long each policy and pruner takes, and prints the table of the README."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


def measured() -> list[dict[str, Any]]:
    """The last row that did not fail of everything, each with its cost over `kv=full` of the same call, in
    percent."""
    every = json.loads((HERE / "results.json").read_text())
    rows = [row for row in every if "failed" not in row and row["frames"] == 2048]
    full_s: dict[int, list[float]] = {}
    for row in rows:
        if name_of(row) == "kv=full":
            full_s.setdefault(row["call"], []).append(row["watch_s"])
    last = {name_of(row): row for row in rows}
    return [row | {"cost": 100 * (row["watch_s"] / mean(full_s[row["call"]]) - 1)} for row in last.values()]


def name_of(row: dict[str, Any]) -> str:
    """What is typed for it."""
    name = f"kv={row['kv']}" if "kv" in row else f"prune={row['prune']}"
    return name + "".join(f" kv.{setting}" for setting in row.get("held", "").split())


def table() -> list[str]:
    """A line of the README's table for every measured row."""
    return [
        f"| `{name_of(row)}` | {row['watch_s']:.2f} | {round(row['cost']):+,d} % | "
        f"{row['first_question_ms']:,.0f} | {row['decode_tok_s']:.0f} | "
        f"{row['context_gib']:.2f} | {row['peak_gib']:.1f} | {row['call']}, {row['commit']} |"
        for row in sorted(measured(), key=lambda row: row["cost"])
    ]


def main() -> None:
    """Draws the figure."""
    rows = sorted(measured(), key=lambda row: row["watch_s"])
    figure, axis = plt.subplots(figsize=(8, 0.6 + 0.3 * len(rows)), layout="constrained")
    colours = [
        "tab:grey" if r.get("kv") == "full" else "tab:blue" if "kv" in r else "tab:green" for r in rows
    ]
    seconds = [row["watch_s"] for row in rows]
    axis.barh(range(len(rows)), seconds, color=colours)
    for place, spent in enumerate(seconds):
        axis.text(spent * 1.05, place, f"{spent:.1f}", va="center", fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(0.3, max(seconds) * 2)
    axis.set_yticks(range(len(rows)), [f"{name_of(row)} (call {row['call']})" for row in rows], fontsize=8)
    axis.set_xlabel("seconds of watching, visual tokens given (logarithmic)")
    axis.set_title("2048 frames, keep=0.25, chunks of 4 groups, Video-XL-2 7B, one H200", fontsize=10)
    figure.savefig(HERE / "figure.png", dpi=150)
    print(*table(), sep="\n")


if __name__ == "__main__":
    main()
