"""What any study is held against: chance, a model that sees no video, and one that sees a single frame."""

from collections.abc import Sequence
from typing import Any

from studies.answer import interval_text, points
from studies.asked import Found
from studies.member import BLIND, Member, seeds

SINGLE = "single_frame"
BASELINES: list[Member] = [
    *seeds("full", "compressor=none", cost=5, asked=(f"{BLIND}=true",)),
    *seeds(SINGLE, "compressor=none video.max_frames=1"),
]
"""The uncompressed model without the video, and one trained on a single frame of each: in all studies the
same runs."""


def baseline_rows(found: Found) -> dict[str, Any]:
    """Chance, and the baselines that were answered, for the JSON."""
    rows = {
        word: found[key].plain()
        for word, key in ((BLIND, ("full", BLIND)), (SINGLE, (SINGLE, "")))
        if key in found
    }
    chances = {setting.chance for setting in found.values()}
    if len(chances) > 1:
        raise SystemExit(f"settings of one study were asked unlike questions: chance is {sorted(chances)}")
    return {"chance": next(iter(chances), None), "baselines": rows}


def baseline_lines(numbers: dict[str, Any], columns: int, place: int) -> list[str]:
    """Rows of a README's table.

    Args:
        numbers: What results.json holds.
        columns: That the table has.
        place: Of its accuracies.
    """
    words = {BLIND: "blind: asked without the video", SINGLE: "a single frame"}
    cells = [("chance", points(numbers["chance"], None))] if numbers["chance"] is not None else []
    cells += [
        (words[name], points(row["accuracy"], row["interval"])) for name, row in numbers["baselines"].items()
    ]
    lines = []
    for name, accuracy in cells:
        row = [name, *[""] * (columns - 1)]
        row[place] = accuracy
        lines.append(f"| {' | '.join(row)} |")
    return lines


def not_learned(row: dict[str, Any], what: str) -> str | None:
    """What to say where the model that all is measured against is not shown to know anything.

    Args:
        row: Its row.
        what: What it is called in the sentence.
    """
    interval, chance = row["interval"], row["chance"]
    if interval is not None and interval[0] > chance:
        return None
    why = "too few videos for an interval" if interval is None else interval_text(interval)
    return (
        f"nothing can be said: {what} is not shown to be above chance ({100 * row['accuracy']:.1f} %, {why}; "
        f"chance {100 * chance:.1f} %)"
    )


def named(rows: Sequence[dict[str, Any]], name: str, variant: str = "") -> dict[str, Any] | None:
    """The row of a setting under a variant."""
    return next((row for row in rows if (row["name"], row["variant"]) == (name, variant)), None)
