"""Questions about what happened in a long video; training and held-out ones are worded otherwise.

Options that have an order of their own (colours, shapes, corners, numbers, quarters) keep it, so that what is
seen decides the letter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from vxl.data.clips.drawn import COLOURS, NUMBERS, SHAPES
from vxl.data.long.config import Kind
from vxl.data.long.script import CORNERS, Event, Script, Split
from vxl.data.sample import Question

QUARTERS = ("in the first quarter", "in the second quarter", "in the third quarter", "in the last quarter")


@dataclass(frozen=True)
class Wordings:
    """How a kind of question is put."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


WORDINGS: dict[Kind, Wordings] = {
    "what": Wordings(
        ("Which shape is {colour}?", "What shape appears in {colour}?", "The {colour} shape is a"),
        ("What is the shape of the {colour} thing?",),
    ),
    "where": Wordings(
        ("Where does the {colour} {shape} appear?", "Which corner holds the {colour} {shape}?"),
        ("In which corner is the {colour} {shape}?",),
    ),
    "colour": Wordings(
        ("Which colour is the {shape}?", "In what colour does the {shape} appear?", "The {shape} is"),
        ("What colour is the {shape} in this video?",),
    ),
    "first": Wordings(
        ("Which colour appears first?", "What is the first of these colours to appear?"),
        ("Of these colours, which one is shown first?",),
    ),
    "count": Wordings(
        ("How many times does a white shape appear?", "How often is something white shown?"),
        ("How many white shapes are there in all?",),
    ),
    "next": Wordings(
        ("Which colour comes next after the {colour} {shape}?", "After {colour}, which colour comes next?"),
        ("What is the next colour after the {colour} one?",),
    ),
    "when": Wordings(
        ("When does the {colour} {shape} appear?", "In which part of the video is the {colour} {shape}?"),
        ("When is the {colour} {shape} shown?",),
    ),
}


@dataclass(frozen=True)
class Answer:
    """What is asked about, the options, the right one, and how far back one must look."""

    event: Event
    options: tuple[str, ...]
    right: str
    second: float
    """When the earliest thing that the answer depends on begins."""


@dataclass(frozen=True)
class AboutVideo:
    """A question about a long video."""

    question: Question
    second: float
    """When the earliest thing that the answer depends on begins."""


def ask(script: Script, kind: Kind, split: Split, chance: np.random.Generator) -> AboutVideo:
    """A question of a kind about a video.

    Args:
        script: What happens in it.
        kind: What is asked.
        split: Decides the wordings.
        chance: Chooses what is asked about, and the wording.
    """
    wordings = WORDINGS[kind].train if split == "train" else WORDINGS[kind].held_out
    wording = wordings[chance.integers(len(wordings))]
    answer = ANSWERS[kind](script, chance)
    text = wording.format(colour=answer.event.colour, shape=answer.event.shape)
    letter = ascii_uppercase[answer.options.index(answer.right)]
    return AboutVideo(Question(text, answer.options, letter), answer.second)


def _one_of(events: list[Event], chance: np.random.Generator) -> Event:
    return events[chance.integers(len(events))]


def _what(script: Script, chance: np.random.Generator) -> Answer:
    event = _one_of(script.needles, chance)
    return Answer(event, SHAPES, event.shape, event.start)


def _where(script: Script, chance: np.random.Generator) -> Answer:
    event = _one_of(script.needles, chance)
    return Answer(event, CORNERS, event.place, event.start)


def _colour(script: Script, chance: np.random.Generator) -> Answer:
    event = _one_of(script.needles, chance)
    return Answer(event, tuple(COLOURS), event.colour, event.start)


def _first(script: Script, chance: np.random.Generator) -> Answer:
    event = script.needles[0]
    return Answer(event, tuple(COLOURS), event.colour, event.start)


def _count(script: Script, chance: np.random.Generator) -> Answer:
    events = script.counted
    return Answer(events[0], NUMBERS, NUMBERS[len(events) - 1], events[0].start)


def _next(script: Script, chance: np.random.Generator) -> Answer:
    number = int(chance.integers(len(script.needles) - 1))
    event, following = script.needles[number : number + 2]
    options = tuple(colour for colour in COLOURS if colour != event.colour)
    return Answer(event, options, following.colour, event.start)


def _when(script: Script, chance: np.random.Generator) -> Answer:
    event = _one_of(script.needles, chance)
    return Answer(event, QUARTERS, QUARTERS[int(4 * event.start / script.seconds)], event.start)


ANSWERS: dict[Kind, Callable[[Script, np.random.Generator], Answer]] = {
    "what": _what,
    "where": _where,
    "colour": _colour,
    "first": _first,
    "count": _count,
    "next": _next,
    "when": _when,
}
