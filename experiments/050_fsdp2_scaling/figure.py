"""Draws throughput and memory of the rows of 8,192 tokens, by strategy and number of GPUs."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
LEAST = 8  # measured steps: what has fewer had not settled
VARIANTS = {"half": "1/2 recomp.", "fifth": "1/5 recomp.", "compiled": "compiled"}


def main() -> None:
    rows = [row for row in json.loads((HERE / "results.json").read_text()) if drawn(row)]
    names = [named(row) for row in rows]
    figure, (speed, memory) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
    for axis, key, title in (
        (speed, "tokens_per_s_a_gpu", "tokens a second and GPU"),
        (memory, "peak_memory_gib", "highest memory of a GPU, GiB"),
    ):
        bars = axis.bar(names, [row[key] for row in rows], color="#00798c")
        axis.bar_label(bars, fmt="{:,.0f}", padding=-14, color="white")
        axis.set_title(title, fontsize=10)
        axis.tick_params(axis="x", labelsize=8)
    memory.axhline(79.2, color="black", linestyle=":", linewidth=1)
    memory.text(-0.4, 80, "80 GB", fontsize=8, va="bottom")
    memory.set_ylim(0, 92)
    title = "Video-XL-2 8B in full, bf16 weights and moments, 8,192 tokens a GPU, H100 80 GB"
    figure.suptitle(title, fontsize=10)
    figure.savefig(HERE / "figure.png", dpi=150)


def drawn(row: dict[str, Any]) -> bool:
    """Whether a row was measured, at this size and for long enough."""
    return row["row"].split("/")[1:3] == ["7b", "8192"] and row.get("steps", 0) >= LEAST


def named(row: dict[str, Any]) -> str:
    """What stands under a bar."""
    strategy, _, _, *more = row["row"].split("/")
    gpus = f"{row['gpus']} GPU{'s' * (row['gpus'] > 1)}"
    return "\n".join([strategy, gpus, *(VARIANTS[name] for name in more)])


if __name__ == "__main__":
    main()
