"""Draws figure.png from results.json: time and memory against frames, beside the published code.

python experiments/005_watch_once/figure.py
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).parent

# The published code on the same kind of GPU: frames, encoding and prefill in seconds, highest memory in GiB.
# Dense attention; with its chunk mask, which it makes on the host, it does not fit at 2048 frames.
PUBLISHED = {
    "published, dense": [
        (128, 0.38 + 0.13, 24.3),
        (256, 0.77 + 0.27, 31.5),
        (512, 1.54 + 0.60, 46.0),
        (1024, 3.07 + 1.47, 51.4),
        (2048, 6.16 + 3.97, 54.4),
    ],
    "published, chunk mask": [
        (128, 0.38 + 0.08 + 1.52, 24.3),
        (256, 0.77 + 0.31 + 0.50, 31.5),
        (512, 1.54 + 1.17 + 1.36, 46.0),
        (1024, 3.07 + 5.98 + 4.38, 51.4),
    ],
}
COLOURS = {
    "published, dense": "#999999",
    "published, chunk mask": "#555555",
    "dense": "#d1495b",
    "chunked, time_rows=all": "#edae49",
    "chunked, time_rows=window": "#00798c",
}


def main() -> None:
    """Reads, draws, writes."""
    rows = [row for row in json.loads((HERE / "results.json").read_text()) if row["mode"] != "file"]
    lines: dict[str, list[tuple[float, float, float]]] = {name: list(at) for name, at in PUBLISHED.items()}
    for row in sorted(rows, key=lambda row: row["frames"]):
        if row["kv"] != "full":
            continue
        name = "dense" if row["mode"] == "dense" else f"chunked, time_rows={row['time_rows']}"
        seconds = row["encode_s"] + row["prefill_s"]
        lines.setdefault(name, []).append((row["frames"], seconds, row["peak_gib"]))
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for place, (axis, label) in enumerate(
        zip(axes, ("encoding + prefill, s", "highest memory, GiB"), strict=True)
    ):
        for name, colour in COLOURS.items():
            points = lines.get(name, [])
            style = "--" if name.startswith("published") else "-"
            x, y = [point[0] for point in points], [point[place + 1] for point in points]
            axis.plot(x, y, style, marker="o", markersize=4, color=colour, label=name)
        axis.set(xscale="log", xlabel="frames", ylabel=label)
        ticks = (128, 256, 512, 1024, 2048, 4096, 10000)
        axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set(yscale="log")
    axes[1].axhline(80 * 1e9 / 2**30, color="black", linewidth=0.8, linestyle=":")
    axes[1].text(128, 75.2, "80 GB", fontsize=8)
    axes[1].set_ylim(0, 80)
    axes[0].legend(fontsize=8, frameon=False)
    figure.suptitle("Video-XL-2 (8B, bf16) watching a video, one H100 80 GB", fontsize=11)
    figure.savefig(HERE / "figure.png", dpi=130)


if __name__ == "__main__":
    main()
