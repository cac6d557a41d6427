"""A long video in windows of all lengths: short ones teach a projector, long ones to look far back."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vxl.data.long.asked import ask
from vxl.data.long.config import Kind
from vxl.data.long.script import Event, Script
from vxl.data.sample import Question

IN_ORDER = ("What appears here, in order?", "Tell what is shown, one thing after the other.")
NOTHING = "Nothing."


@dataclass(frozen=True)
class Window:
    """A part of a video, and what is asked about it."""

    start: float
    """Seconds from the beginning of the video."""
    end: float
    questions: tuple[Question, ...]
    """As many as it has shapes that can be asked about one by one, each worded once."""
    told: tuple[str, str]
    """A question and its answer: all that appears, in order of time."""


def windows(script: Script, length: float, chance: np.random.Generator) -> Iterator[Window]:
    """The windows that a video falls into, each of 1, 2, 4, ... stretches, the whole video at most.

    Args:
        script: What happens in the video.
        length: Of a stretch, in seconds.
        chance: Chooses lengths, what is asked and the wordings.
    """
    stretches = round(script.seconds / length)
    lengths = [2**power for power in range(stretches.bit_length())]
    at = 0
    while at < stretches:
        until = min(at + lengths[chance.integers(len(lengths))], stretches)
        yield _window(script, length * at, length * until, chance)
        at = until


def _window(script: Script, start: float, end: float, chance: np.random.Generator) -> Window:
    events = tuple(event for event in script.events if start <= event.start < end)
    part = Script(script.seconds, events)
    kinds = kinds_of(part)
    asked = {}
    for _ in part.needles:
        question = ask(part, kinds[chance.integers(len(kinds))], "train", chance).question
        asked.setdefault(question.question, question)
    answer = " ".join(caption(event) for event in events) or NOTHING
    return Window(start, end, tuple(asked.values()), (IN_ORDER[chance.integers(len(IN_ORDER))], answer))


def kinds_of(script: Script) -> list[Kind]:
    """What can be asked about a part of a video."""
    needed: dict[Kind, bool] = {
        "what": bool(script.needles),
        "where": bool(script.needles),
        "colour": bool(script.needles),
        "when": bool(script.needles),
        "first": bool(script.needles),
        "next": len(script.needles) > 1,
        "count": bool(script.counted),
    }
    return [kind for kind, possible in needed.items() if possible]


def caption(event: Event) -> str:
    """`A red star, top left.`"""
    return f"A {event.colour} {event.shape}, {event.place}."
