"""What does the chunk mask cost, in training and at inference alone, and do time rows need to see all?"""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from studies import Found, against, draw_side_by_side, points, run_study, seeds

HERE = Path(__file__).parent
POOL = "compressor=pool compressor.ratio=4"
CHUNKS = "prefill=chunked prefill.groups_per_chunk=4 prefill.previous_chunks=1"
EITHER = f"{CHUNKS} prefill.time_rows=all,window"
MEMBERS = [
    *seeds("pool_4", POOL, asked=("", EITHER)),
    *seeds("chunks_all", f"{POOL} {CHUNKS} prefill.time_rows=all", asked=("", "prefill=full"), cost=3),
    *seeds("chunks_window", f"{POOL} {CHUNKS} prefill.time_rows=window", asked=("", "prefill=full"), cost=3),
]
TRAINED = {
    "pool_4": "dense",
    "chunks_all": "chunks, time rows see all",
    "chunks_window": "chunks, window alone",
}


def result(found: Found, runs: Path) -> dict[str, Any]:
    """All of it against dense training and dense inference."""
    base = found["pool_4", ""]
    rows = []
    for (name, variant), setting in found.items():
        asked = TRAINED[name] if not variant else "dense"
        if "prefill=chunked" in variant:
            asked = TRAINED["chunks_window" if "window" in variant else "chunks_all"]
        rows.append(setting.plain() | {"trained": TRAINED[name], "asked": asked} | against(base, setting))
    return {"rows": rows}


def lines(found: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| trained | asked | seeds | accuracy, % | against dense in both, points | p |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        text.append(
            f"| {row['trained']} | {row['asked']} | {len(row['seeds'])} | "
            f"{points(row['accuracy'], row['interval'])} | "
            f"{points(row['difference'], row['difference_interval'], signed=True)} | {row['p']:.2g} |"
        )
    return text


def draw(found: dict[str, Any], path: Path) -> None:
    """Accuracies, side by side."""
    labels = [f"trained {row['trained']}; asked {row['asked']}" for row in found["rows"]]
    draw_side_by_side(found["rows"], labels, path)


if __name__ == "__main__":
    run_study(HERE, __doc__ or "", MEMBERS, result, lines, draw)
