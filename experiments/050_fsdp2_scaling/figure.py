"""Draws throughput and memory of the measured rows, by strategy and number of GPUs."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


def main() -> None:
    rows = [row for row in json.loads((HERE / "results.json").read_text()) if "tokens_per_s_a_gpu" in row]
    names = [f"{row['row'].split('/')[0]}\n{row['gpus']} GPU{'s' * (row['gpus'] > 1)}" for row in rows]
    figure, (speed, memory) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, key, title in (
        (speed, "tokens_per_s_a_gpu", "tokens a second and GPU"),
        (memory, "peak_memory_gib", "highest memory of a GPU, GiB"),
    ):
        bars = axis.bar(names, [row[key] for row in rows], color="#00798c")
        axis.bar_label(bars, fmt="{:,.0f}")
        axis.set_title(title, fontsize=10)
        axis.margins(y=0.12)
    memory.axhline(79.2, color="black", linestyle=":", linewidth=1)
    memory.text(-0.4, 80, "80 GB", fontsize=8, va="bottom")
    memory.set_ylim(0, 92)
    title = "Video-XL-2 8B in full, bf16 weights and moments, 4,864 tokens a GPU, H100 80 GB"
    figure.suptitle(title, fontsize=10)
    figure.savefig(HERE / "figure.png", dpi=150)


if __name__ == "__main__":
    main()
