"""What does the chunk mask cost, in training and at inference alone, and do time rows need to see all?"""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from studies import (
    BASELINES,
    Answer,
    Base,
    Found,
    Member,
    Study,
    against,
    baseline_lines,
    differences,
    draw_rows,
    main,
    points,
    seeds,
)

POOL = "compressor=pool compressor.ratio=4"
CHUNKS = "prefill=chunked prefill.groups_per_chunk=4 prefill.previous_chunks=1"
EITHER = f"{CHUNKS} prefill.time_rows=all,window"
TRAINED = {
    "pool_4": "dense",
    "chunks_all": "chunks, time rows see all",
    "chunks_window": "chunks, window alone",
}


def members(base: Base) -> list[Member]:
    """Trained dense and in chunks of either kind, each asked dense and in chunks."""
    return [
        *seeds("pool_4", POOL, asked=("", EITHER)),
        *seeds("chunks_all", f"{POOL} {CHUNKS} prefill.time_rows=all", asked=("", "prefill=full"), cost=3),
        *seeds(
            "chunks_window", f"{POOL} {CHUNKS} prefill.time_rows=window", asked=("", "prefill=full"), cost=3
        ),
        *BASELINES,
    ]


def rows(found: Found, base: Base) -> list[dict[str, Any]]:
    """All of it against dense training and dense inference."""
    dense = found["pool_4", ""]
    made = []
    for (name, variant), setting in found.items():
        if name in TRAINED:
            asked = TRAINED[name] if not variant else "dense"
            if "prefill=chunked" in variant:
                asked = TRAINED["chunks_window" if "window" in variant else "chunks_all"]
            made.append(
                setting.plain() | {"trained": TRAINED[name], "asked": asked} | against(dense, setting)
            )
    return made


def answer(numbers: dict[str, Any], dense: dict[str, Any]) -> Answer:
    """What the mask costs at inference alone, and in training too."""
    rows = [
        row
        for row in numbers["rows"]
        if row["asked"] != "dense" and row["trained"] in ("dense", row["asked"])
    ]
    labels = [
        f"{'at inference alone' if row['trained'] == 'dense' else 'in training too'}, "
        + row["asked"].removeprefix("chunks, ")
        for row in rows
    ]
    parts, ends = differences(labels, rows)
    return Answer(f"against dense in both: {parts}", ends)


def lines(numbers: dict[str, Any]) -> list[str]:
    """The README's table."""
    text = [
        "| trained | asked | seeds | accuracy, % | against dense in both, points | p |",
        "|---|---|---|---|---|---|",
    ]
    for row in numbers["rows"]:
        text.append(
            f"| {row['trained']} | {row['asked']} | {len(row['seeds'])} | "
            f"{points(row['accuracy'], row['interval'])} | "
            f"{points(row['difference'], row['difference_interval'], signed=True)} | {row['p']:.2g} |"
        )
    return text + baseline_lines(numbers, columns=6, place=3)


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Accuracies, one below the other."""
    labels = [f"trained {row['trained']}; asked {row['asked']}" for row in numbers["rows"]]
    draw_rows(numbers, labels, path)


STUDY = Study(
    here=Path(__file__).parent,
    question=__doc__ or "",
    members=members,
    needs="pool_4",
    called="the dense model",
    rows=rows,
    answer=answer,
    lines=lines,
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(main(STUDY))
