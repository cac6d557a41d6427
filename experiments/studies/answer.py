"""How numbers of a study read: in tables, and in the sentence that answers its question."""

from collections.abc import Sequence
from dataclasses import dataclass


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
