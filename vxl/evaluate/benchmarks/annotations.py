"""What annotations hold: counts of complete files, golds among options, the published prompts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vxl.errors import DataError
from vxl.evaluate.benchmarks import tables
from vxl.evaluate.item import BenchmarkItem, choice


@dataclass(frozen=True)
class Counts:
    """What a complete annotation file holds, counted in the authors' own."""

    items: int
    videos: int | None = None
    golds: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[int, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Sequence[BenchmarkItem]) -> "Counts":
        """Of what was read."""
        choices = [item for item in items if item.asks == "choice"]
        return cls(
            len(items),
            len({item.video for item in items}),
            dict(sorted(Counter(item.gold for item in choices).items())),
            dict(sorted(Counter(len(item.options) for item in choices).items())),
            dict(Counter(item.kind for item in items)),
        )

    def differences(self, other: "Counts") -> list[str]:
        """Where what was read differs from this."""
        lines = []
        for name in ("items", "videos", "golds", "options", "kinds"):
            expected, actual = getattr(self, name), getattr(other, name)
            if expected and expected != actual:
                lines.append(f"{name}: expected {_shown(expected)}, got {_shown(actual)}")
        return lines


@cache
def strings() -> dict[str, Any]:
    """Prompts and judges' texts of the published evaluations, byte for byte."""
    file = Path(__file__).with_name("strings.json")
    return json.loads(file.read_text(encoding="utf-8"))


def gold_of(options: Sequence[str], answer: str, where: str) -> int:
    """The number of the option whose text is the answer (blanks around it do not count).

    Raises:
        DataError: No option has that text.
    """
    gold = answer.strip()
    for number, option in enumerate(options):
        if option.strip() == gold:
            return number
    raise DataError(
        f"{where}: the answer {answer!r} is none of the options.\n  options: {' | '.join(options)}"
    )


def task_item(row: dict[str, Any], task: str, *, key: str, index: int, where: str) -> BenchmarkItem:
    """What rows of MLVU and MVBench have in common: a question about a video, in a task.

    Raises:
        DataError: The row has no question or no video.
    """
    video = str(tables.field(row, "video", where))
    return BenchmarkItem(
        key=key,
        index=index,
        video=video,
        cluster=video,
        kind=task,
        labels={"task": (task,)},
        question=str(tables.field(row, "question", where)),
    )


def choice_item(row: dict[str, Any], task: str, *, key: str, index: int, where: str) -> BenchmarkItem:
    """The same with options under `candidates`, one of which is the answer's text.

    Raises:
        DataError: One of these is not there, or the answer is none of the options.
    """
    options = tables.texts(tables.field(row, "candidates", where), where)
    gold, accepted = choice(options, gold_of(options, str(tables.field(row, "answer", where)), where))
    item = task_item(row, task, key=key, index=index, where=where)
    return replace(item, options=options, gold=gold, accepted=accepted)


def letter_number(letter: Any, options: Sequence[str], where: str) -> int:
    """The number of a letter's option.

    Raises:
        DataError: It is no letter of these options.
    """
    label = str(letter).strip().strip("().")
    if len(label) != 1 or label not in ascii_uppercase[: len(options)]:
        raise DataError(f"{where}: the answer {letter!r} is no letter of {len(options)} options.")
    return ascii_uppercase.index(label)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return str(value)
