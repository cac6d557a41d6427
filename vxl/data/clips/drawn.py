"""Drawn clips: big shapes that stand in a colour, change it, move, or come in numbers, each with a question.

Every kind has its options in one fixed order, so that what is seen decides the letter; questions about real
clips have theirs shuffled.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np
from PIL import Image, ImageDraw

from vxl.data.sample import Question
from vxl.seeds import generator

RGB = tuple[int, int, int]

SIDE = 64
"""Width and height of a clip in pixels."""
FPS = 4

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 230), "yellow": (240, 215, 40)}
SHAPES = ("circle", "square", "triangle", "star")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
NUMBERS = ("one", "two", "three", "four")
WHITE = (245, 245, 245)
"""Of what moves or is counted: with colours on top a tiny model takes several times as long to see it."""
GROUNDS = ((10, 10, 14), (50, 50, 55))


@dataclass(frozen=True)
class Drawn:
    """A clip that was drawn, and what is asked about it."""

    kind: str
    frames_FHWC: np.ndarray
    question: Question


@dataclass(frozen=True)
class DrawnQuestion:
    """A kind of question: its wording and its options."""

    question: str
    options: tuple[str, ...]


KINDS = {
    "colour": DrawnQuestion("What colour is the shape?", tuple(COLOURS)),
    "direction": DrawnQuestion("In which direction does the shape move?", tuple(DIRECTIONS)),
    "count": DrawnQuestion("How many shapes are there?", NUMBERS),
    "first_colour": DrawnQuestion("Which colour is shown first?", tuple(COLOURS)),
}


def draw_clips(kind: str, count: int, seed: int, split: str) -> Iterator[Drawn]:
    """Draws clips of a kind. Right answers take turns, so that every letter is right equally often.

    Args:
        kind: Which of KINDS.
        count: How many clips.
        seed: Of everything left to chance.
        split: Name of the part of the data; another one gives other clips.
    """
    options = KINDS[kind].options
    for number in range(count):
        answer = number % len(options)
        chance = generator(seed, "drawn", split, kind, number)
        question = Question(KINDS[kind].question, options, ascii_uppercase[answer])
        yield Drawn(kind, _draw(kind, options[answer], chance), question)


def _draw(kind: str, answer: str, chance: np.random.Generator) -> np.ndarray:
    """One clip: uint8 frames_FHWC, one or two groups of four frames."""
    ground = GROUNDS[chance.integers(len(GROUNDS))]
    shape = _pick(chance, list(SHAPES))
    if kind == "first_colour":
        other = _pick(chance, [name for name in COLOURS if name != answer])
        return _change(ground, shape, (answer, other), chance)
    if kind == "count":
        return _several(ground, shape, answer, chance)
    if kind == "direction":
        return _move(ground, shape, answer, chance)
    size, x, y = chance.uniform(18, 27), *chance.uniform(27, 37, 2)
    still = _frame(ground, [(shape, COLOURS[answer], x, y, size)])
    return np.stack([still] * FPS)


def _change(ground: RGB, shape: str, colours: tuple[str, str], chance: np.random.Generator) -> np.ndarray:
    """A shape that changes its colour about the middle of the clip."""
    size, x, y = chance.uniform(20, 27), *chance.uniform(27, 37, 2)
    before, after = (_frame(ground, [(shape, COLOURS[colour], x, y, size)]) for colour in colours)
    change = int(chance.integers(FPS, FPS + 2))
    frames = [before] * change + [after] * (2 * FPS - change)
    return np.stack(frames)


def _several(ground: RGB, shape: str, number: str, chance: np.random.Generator) -> np.ndarray:
    """One to four equal shapes, each in a quarter of the picture."""
    size, many = chance.uniform(12, 14), NUMBERS.index(number) + 1
    quarters = chance.permutation([(16, 16), (48, 16), (16, 48), (48, 48)])[:many]
    places = [
        (x + dx, y + dy) for (x, y), (dx, dy) in zip(quarters, chance.uniform(-2, 2, (4, 2)), strict=False)
    ]
    still = _frame(ground, [(shape, WHITE, x, y, size) for x, y in places])
    return np.stack([still] * FPS)


def _move(ground: RGB, shape: str, direction: str, chance: np.random.Generator) -> np.ndarray:
    """A shape that crosses the picture."""
    size, reach = chance.uniform(13, 16), chance.uniform(16, 19)
    x, y = chance.uniform(27, 37, 2)
    dx, dy = DIRECTIONS[direction]
    steps = np.linspace(-reach, reach, 2 * FPS)
    frames = [_frame(ground, [(shape, WHITE, x + dx * step, y + dy * step, size)]) for step in steps]
    return np.stack(frames)


def _frame(ground: RGB, shapes: list[tuple[str, RGB, float, float, float]]) -> np.ndarray:
    """One frame; a shape is (name, colour, x, y, radius)."""
    image = Image.new("RGB", (SIDE, SIDE), ground)
    draw = ImageDraw.Draw(image)
    for name, colour, x, y, radius in shapes:
        draw.polygon(outline(name, x, y, radius), fill=colour)
    return np.asarray(image)


def outline(name: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Corners of one of SHAPES around a point, in pixels."""
    corners, inner = {"circle": (40, 1.0), "square": (4, 1.0), "triangle": (3, 1.0), "star": (10, 0.4)}[name]
    turned = math.pi / 4 if name == "square" else 0.0
    radii = [radius, radius * inner]
    angles = [turned - math.pi / 2 + 2 * math.pi * n / corners for n in range(corners)]
    return [
        (x + radii[n % 2] * math.cos(angle), y + radii[n % 2] * math.sin(angle))
        for n, angle in enumerate(angles)
    ]


def _pick(chance: np.random.Generator, names: list[str]) -> str:
    return names[chance.integers(len(names))]
