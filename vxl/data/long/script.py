"""What happens in a long video, and when: a function of the settings, the part of the data, and a number."""

import math
from dataclasses import dataclass
from typing import Literal

from vxl.data.clips.drawn import COLOURS, SHAPES
from vxl.data.long.config import MOST_TIMES, LongConfig
from vxl.seeds import generator

Split = Literal["train", "held_out"]

CORNERS = ("top left", "top right", "bottom left", "bottom right")
MIDDLE = "middle"
"""Where white and grey shapes appear."""


@dataclass(frozen=True)
class Event:
    """A shape that is shown for some seconds."""

    start: float
    """Seconds from the beginning of the video."""
    colour: str
    """One of COLOURS; white is counted, grey distracts."""
    shape: str
    place: str

    @property
    def is_needle(self) -> bool:
        """Whether there is nothing else of its colour and shape."""
        return self.colour in COLOURS


@dataclass(frozen=True)
class Script:
    """A video before it is made."""

    seconds: float
    events: tuple[Event, ...]
    """In order of time."""

    @property
    def needles(self) -> list[Event]:
        """What can be asked about one by one, in order of time."""
        return [event for event in self.events if event.is_needle]

    @property
    def counted(self) -> list[Event]:
        """What is counted."""
        return [event for event in self.events if event.colour == "white"]


def write_script(config: LongConfig, split: Split, number: int) -> Script:
    """The n-th video of a part of the data.

    Everything that appears has a stretch of `needle_seconds` of its own among those of the part of the video
    that `latest` allows; which ones is left to chance.
    """
    chance = generator(config.drawing_seed, "long", split, number)
    low, high = (math.log(60 * minutes) for minutes in config.minutes)
    length = config.needle_seconds
    seconds = length * round(math.exp(chance.uniform(low, high)) / length)
    colours = [list(COLOURS)[n] for n in chance.permutation(len(COLOURS))[: config.needles]]
    shapes = [SHAPES[n] for n in chance.permutation(len(SHAPES))[: config.needles]]
    looks = [
        (colour, shape, CORNERS[chance.integers(len(CORNERS))])
        for colour, shape in zip(colours, shapes, strict=True)
    ]
    for colour, times in (("white", 1 + int(chance.integers(MOST_TIMES))), ("grey", config.distractors)):
        looks += [(colour, SHAPES[chance.integers(len(SHAPES))], MIDDLE) for _ in range(times)]
    room = max(len(looks), int(seconds * config.latest / length))
    stretches = sorted(chance.permutation(room)[: len(looks)].tolist())
    order = chance.permutation(len(looks))
    events = [Event(length * at, *looks[n]) for at, n in zip(stretches, order, strict=True)]
    return Script(max(seconds, length * room), tuple(events))
