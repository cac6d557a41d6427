"""Draws where the measured steps' time went."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


def main() -> None:
    rows = [row for row in json.loads((HERE / "results.json").read_text()) if "sections_ms" in row]
    figure, axis = plt.subplots(figsize=(9, 1.9 + 0.7 * len(rows)), layout="constrained")
    colours = plt.get_cmap("tab10")
    for place, row in enumerate(rows):
        left = 0.0
        for number, (name, spent) in enumerate(row["sections_ms"].items()):
            label = name if place == 0 else None
            axis.barh(place, spent, left=left, color=colours(number % 10), label=label)
            if spent > 30:
                axis.text(left + spent / 2, place, f"{spent:.0f}", ha="center", va="center", color="white")
            left += spent
    axis.set_yticks(range(len(rows)), [f"{row['variant']}\nMFU {row['mfu']:.1%}" for row in rows])
    axis.set_xlabel("ms a step, waiting for the GPU between parts")
    axis.set_title("Video-XL-2 7B, LoRA + projector + compressor, packed 8k, one H100 80 GB", fontsize=10)
    figure.legend(ncol=5, fontsize=8, loc="outside lower center")
    figure.savefig(HERE / "figure.png", dpi=150)


if __name__ == "__main__":
    main()
