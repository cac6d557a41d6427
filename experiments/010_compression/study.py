"""Does compression hold? Nothing, pooling, DTS, VST and fewer frames at equal numbers of visual tokens."""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import matplotlib.pyplot as plt
from studies import (
    CHANCE,
    Found,
    Member,
    against,
    bars,
    chance_line,
    kept,
    points,
    run_study,
    save_figure,
    seeds,
)

HERE = Path(__file__).parent
TOKENS = 2048
"""Visual tokens of 32 frames of 8 x 8 patches without compression."""
METHODS = {
    "pool": ("compressor=pool compressor.ratio={ratio}", (4, 16), (64,), 1.0),
    "dts": ("compressor=dts compressor.ratio={ratio}", (4, 16), (2, 8, 64), 1.0),
    "vst": ("compressor=none kv=vst kv.ratio={ratio}", (4, 16), (2, 8), 6.0),
}
"""Words, ratios with three seeds, ratios with one, how long a run takes."""
MEMBERS = [
    *seeds("full", "compressor=none", cost=5, asked=("", "blind=true")),
    *seeds("frames_8", "compressor=none video.max_frames=8"),
    *seeds("frames_2", "compressor=none video.max_frames=2"),
    Member("frames_1", "compressor=none video.max_frames=1"),
    Member("frames_16", "compressor=none video.max_frames=16", cost=2),
]
for method, (words, three, one, cost) in METHODS.items():
    for ratio in three:
        MEMBERS += seeds(f"{method}_{ratio}", words.format(ratio=ratio), cost=cost)
    MEMBERS += [Member(f"{method}_{ratio}", words.format(ratio=ratio), cost=cost) for ratio in one]


def tokens(name: str) -> int:
    """Visual tokens that a question is answered from."""
    method, _, number = name.partition("_")
    if method == "full":
        return TOKENS
    return TOKENS // 32 * int(number) if method == "frames" else TOKENS // int(number)


def result(found: Found, runs: Path) -> dict[str, Any]:
    """All rows, most tokens first; each against the uncompressed model."""
    base = found["full", ""]
    rows = []
    for (name, variant), setting in found.items():
        row = setting.plain() | {"tokens": 0 if variant else tokens(name)}
        row |= {"kinds": {kind: setting.of(kind).plain() for kind in setting.kinds}}
        rows.append(row | against(base, setting) | kept(base, setting))
    return {"rows": sorted(rows, key=lambda row: (-row["tokens"], row["name"]))}


def lines(found: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| setting | visual tokens | seeds | accuracy, % | against uncompressed | kept above chance, % |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        name = "blind" if row["variant"] else row["name"]
        text.append(
            f"| `{name}` | {row['tokens']} | {len(row['seeds'])} | "
            f"{points(row['accuracy'], row['interval'])} | "
            f"{points(row['difference'], row['difference_interval'], signed=True)} | "
            f"{points(row['kept'], row['kept_interval'])} |"
        )
    return text


def draw(found: dict[str, Any], path: Path) -> None:
    """Accuracy by visual tokens."""
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    styles = {
        "pool": "tab:orange",
        "dts": "tab:blue",
        "vst": "tab:green",
        "frames": "tab:grey",
        "full": "black",
    }
    for method, colour in styles.items():
        rows = [r for r in found["rows"] if r["name"].partition("_")[0] == method and not r["variant"]]
        if not rows:
            continue
        label = {"frames": "fewer frames", "full": "uncompressed"}.get(method, method)
        bars(axis, rows, [row["tokens"] for row in rows], label, colour)
    chance_line(axis)
    axis.text(
        min(r["tokens"] for r in found["rows"] if r["tokens"]),
        100 * CHANCE,
        " chance",
        va="bottom",
        fontsize=8,
    )
    axis.set_xscale("log", base=2)
    axis.set_xlabel("visual tokens that a question is answered from")
    axis.set_ylabel("right answers, %")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    save_figure(figure, path)


if __name__ == "__main__":
    run_study(HERE, __doc__ or "", MEMBERS, result, lines, draw)
