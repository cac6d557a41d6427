"""How numbers of a study read: in tables, and in the sentence that answers its question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a study comes to."""

    text: str
    """In one sentence."""
    interval: str
    """Of the numbers in it, 95 %, over seeds and questions."""


Ends = Sequence[float | None] | None


def interval_text(interval: Ends, *, signed: bool = False) -> str:
    """`48.0 to 58.2`, in per cent; an end that is not known is `any`."""
    if interval is None:
        return "not known"
    sign = "+" if signed else ""
    return " to ".join("any" if end is None else f"{100 * end:{sign}.1f}" for end in interval)


def points(value: float | None, interval: Ends, *, signed: bool = False) -> str:
    """`53.1 (48.0 to 58.2)`, in per cent; a number that can't be known is empty."""
    if value is None:
        return ""
    text = f"{100 * value:{'+' if signed else ''}.1f}"
    return text if interval is None else f"{text} ({interval_text(interval, signed=signed)})"


def differences(labels: Sequence[str], rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """How far settings are from what they are compared with, in points, and the intervals of that.

    Args:
        labels: What each is called.
        rows: Their rows of results.json.
    """
    parts = [f"{name} {100 * row['difference']:+.1f} points" for name, row in zip(labels, rows, strict=True)]
    ends = [
        f"{name} {interval_text(row['difference_interval'], signed=True)}"
        for name, row in zip(labels, rows, strict=True)
    ]
    return "; ".join(parts), "; ".join(ends)
