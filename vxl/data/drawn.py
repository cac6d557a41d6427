"""Drawn clips: big coloured shapes that stand, move, come in numbers, or change colour, each with a question.

Every kind has its options in one fixed order, so that what is seen decides the letter; questions about real
clips have theirs shuffled.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vxl.data.sample import Question
from vxl.data.seeds import generator

SIDE = 64
"""Width and height of a clip in pixels."""
FPS = 4

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 230), "yellow": (240, 215, 40)}
SHAPES = ("circle", "square", "triangle", "star")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
NUMBERS = ("one", "two", "three", "four")
GROUNDS = ((15, 15, 20), (235, 235, 235), (120, 120, 125), (70, 50, 80))


@dataclass(frozen=True)
class Drawn:
    """A clip that was drawn, what can be asked about it, and what can be said about it."""

    kind: str
    frames_FHWC: np.ndarray
    question: Question
    caption: str


@dataclass(frozen=True)
class Kind:
    """A kind of question: its wording and its options."""

    question: str
    options: tuple[str, ...]


KINDS = {
    "colour": Kind("What colour is the shape?", tuple(COLOURS)),
    "shape": Kind("Which shape is shown?", SHAPES),
    "direction": Kind("In which direction does the shape move?", tuple(DIRECTIONS)),
    "count": Kind("How many shapes are there?", NUMBERS),
    "first_colour": Kind("Which colour is shown first?", tuple(COLOURS)),
    "last_colour": Kind("Which colour is shown last?", tuple(COLOURS)),
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
        frames_FHWC, caption = _draw(kind, options[answer], chance)
        yield Drawn(kind, frames_FHWC, Question(KINDS[kind].question, options, "ABCD"[answer]), caption)


def _draw(kind: str, answer: str, chance: np.random.Generator) -> tuple[np.ndarray, str]:
    ground = GROUNDS[chance.integers(len(GROUNDS))]
    colour = answer if kind == "colour" else _pick(chance, list(COLOURS))
    shape = answer if kind == "shape" else _pick(chance, list(SHAPES))
    if kind in ("first_colour", "last_colour"):
        other = _pick(chance, [name for name in COLOURS if name != answer])
        first, last = (answer, other) if kind == "first_colour" else (other, answer)
        size, x, y = chance.uniform(20, 26), *chance.uniform(26, 38, 2)
        change = int(chance.integers(6, 11))
        frames = [
            _frame(ground, [(shape, first if n < change else last, x, y, size)]) for n in range(4 * FPS)
        ]
        return np.stack(frames), f"A {shape} is {first} at first and {last} at last."
    if kind == "count":
        size = chance.uniform(10, 12)
        cells = chance.permutation([(16, 16), (48, 16), (16, 48), (48, 48)])
        places = [
            (x + dx, y + dy) for (x, y), (dx, dy) in zip(cells, chance.uniform(-3, 3, (4, 2)), strict=True)
        ]
        many = NUMBERS.index(answer) + 1
        still = _frame(ground, [(shape, colour, x, y, size) for x, y in places[:many]])
        plural = "" if many == 1 else "s"
        return np.stack(
            [still] * 2 * FPS
        ), f"There {'is' if many == 1 else 'are'} {answer} {colour} {shape}{plural}."
    moves = kind != "shape"
    direction = answer if kind == "direction" else _pick(chance, list(DIRECTIONS))
    size = chance.uniform(11, 15) if moves else chance.uniform(22, 27)
    centre_x, centre_y = chance.uniform(27, 37, 2)
    reach = chance.uniform(16, 20) if moves else 0.0
    dx, dy = DIRECTIONS[direction]
    steps = np.linspace(-reach, reach, 2 * FPS)
    frames = [_frame(ground, [(shape, colour, centre_x + dx * s, centre_y + dy * s, size)]) for s in steps]
    said = f"moves {direction}" if moves else "stands still"
    return np.stack(frames), f"A {colour} {shape} {said}."


def _frame(ground: tuple[int, int, int], shapes: list[tuple[str, str, float, float, float]]) -> np.ndarray:
    """One frame; a shape is (name, colour, x, y, radius)."""
    image = Image.new("RGB", (SIDE, SIDE), ground)
    draw = ImageDraw.Draw(image)
    for name, colour, x, y, radius in shapes:
        draw.polygon(_outline(name, x, y, radius), fill=COLOURS[colour])
    return np.asarray(image)


def _outline(name: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
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
