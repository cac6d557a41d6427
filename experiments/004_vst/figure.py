"""Draws the table: seconds to the first token and memory, against frames, a line for each ratio.

python experiments/004_vst/figure.py results.json figure.png
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

PANELS = {
    "ttft_s": "frames to first token (s)",
    "peak_gib": "peak memory (GiB)",
    "cache_bytes": "cache (GiB)",
}


def main(source: Path, target: Path) -> None:
    """Reads rows and writes a figure."""
    rows = [row for row in json.loads(source.read_text()) if "ttft_s" in row]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for ax, (key, title) in zip(axes, PANELS.items(), strict=True):
        scale = 2**30 if key == "cache_bytes" else 1
        for ratio in sorted({row["ratio"] for row in rows}):
            line = sorted(
                (row["frames"], (row[key] or float("nan")) / scale) for row in rows if row["ratio"] == ratio
            )
            ax.plot(*zip(*line, strict=True), marker="o", markersize=3, label=f"ratio {ratio}")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("frames")
        ax.set_xscale("log", base=2)
        ax.set_xticks(sorted({row["frames"] for row in rows}), minor=False)
        ax.xaxis.set_major_formatter("{x:.0f}")
        if key == "peak_gib":  # mostly the weights, which no ratio changes
            ax.set_ylim(bottom=0)
        else:
            ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.suptitle(f"Video-XL 7B, visual summarization tokens, {rows[0]['device']}", fontsize=10)
    figure.savefig(target, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
