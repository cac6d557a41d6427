"""A list of one's own questions, with options or open."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vxl.data.fields import bare_options, number_of
from vxl.errors import ConfigError, DataError
from vxl.evaluate import prompts
from vxl.evaluate.benchmarks.annotations import gold_of
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.tables import read_rows, texts
from vxl.evaluate.item import BenchmarkItem, PromptParts, choice
from vxl.evaluate.metrics import Metric, micro
from vxl.evaluate.scoring import Graded
from vxl.patience import is_file

EXAMPLE = '{"video": "a.mp4", "question": "What is shown?", "options": ["a dog", "a cat"], "answer": "B"}'


@dataclass(frozen=True, kw_only=True)
class JsonListConfig(OfficialConfig):
    """A list of one's own: a .json or .jsonl file, one object a question.

    Keys: `video`, `question`, and either `options` with `answer` (a letter, a number from 0, or the option's
    text), or an open question with `answer` as reference (right where the answer holds it as whole words), or
    without one (answers are written, nothing is scored). Optional: `id`, `kind`, `start`, `end`, `cluster`.
    """

    _target_: str = "vxl.evaluate.benchmarks.json.JsonList"
    json: str | None = None
    """The file."""


class JsonList(Official[JsonListConfig]):
    """Questions of a JSON list."""

    name = "json"
    home = "a file of your own"
    licence = "yours"
    presets = ("lmms",)
    max_new_tokens = 64

    def __init__(self, config: JsonListConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    @property
    def place(self) -> Path:
        """The file, under either of its names.

        Raises:
            ConfigError: None is given.
        """
        path = self.config.json or self.config.annotations
        if not path:
            raise ConfigError(
                "benchmark=json: which file?\n  type  benchmark.json=FILE benchmark.videos=FOLDER\n"
                f"  a row:  {EXAMPLE}"
            )
        return Path(path).expanduser()

    def preset(self, family: str | None = None) -> str:
        """One's own questions are asked as vxl asks, unless said otherwise."""
        return "vxl" if self.config.prompt == "auto" else super().preset(family)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of the list."""
        return [
            self._item(row, number, f"{place}, row {number}") for number, row in enumerate(read_rows(place))
        ]

    def _item(self, row: dict[str, Any], number: int, where: str) -> BenchmarkItem:
        for name in ("video", "question"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise DataError(f"{where}: no {name!r}.\n  got: {str(row)[:160]}\n  e.g.  {EXAMPLE}")
        options = bare_options(texts(row["options"], where)) if row.get("options") else ()
        answer = row.get("answer")
        gold, accepted = "", ()
        if options:
            if answer is None:
                raise DataError(f"{where}: options, but no answer.\n  e.g.  {EXAMPLE}")
            gold, accepted = choice(options, _number(answer, options, where))
        else:
            gold = _said(row, "answer", "")
        return BenchmarkItem(
            key=_said(row, "id", number),
            index=number,
            video=row["video"],
            cluster=_said(row, "cluster", row["video"]),
            kind=_said(row, "kind", "question"),
            labels={"kind": (_said(row, "kind", ""),)} if _said(row, "kind", "") else {},
            question=row["question"],
            options=options,
            gold=gold,
            accepted=accepted,
            asks="choice" if options else "open",
            seconds=_seconds(row, "duration", where) or 0.0,
            start=_seconds(row, "start", where),
            end=_seconds(row, "end", where),
        )

    def file_of(self, item: BenchmarkItem) -> Path | None:
        """Below `videos`, or beside the list where no folder is given."""
        if not self.config.videos:
            path = self.place.parent / item.video
            return path if is_file(path) else None
        return super().file_of(item)

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """lmms-eval's; open questions as they are."""
        return prompts.letter_dots(item) if item.options else PromptParts(item.question)

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """A letter; an open answer is right where it holds the reference's words."""
        if item.options:
            return super().grade(item, text, prefill, tokens=tokens)
        words = " ".join(_words(text))
        gold = " ".join(_words(item.gold))
        right = bool(gold) and f" {gold} " in f" {words} "
        return Graded.of(item, text, text or None, given=float(right), tokens=tokens)

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """Over the questions that have an answer."""
        with_answer = [item for item in graded if item.answer]
        return [micro(with_answer)] if with_answer else []


def _number(answer: Any, options: Sequence[str], where: str) -> int:
    """The number of the right option, from a letter, a number or a text, or a letter with its text."""
    letters = ascii_uppercase[: len(options)]
    if isinstance(answer, float) and answer.is_integer():  # as tables write whole numbers beside nothing
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and str(answer) not in options:
        if 0 <= answer < len(options):
            return answer
        raise DataError(
            f"{where}: answer {answer} of {len(options)} options; expected 0 to {len(options) - 1}."
        )
    text = str(answer).strip()
    lettered = re.fullmatch(r"\(?([A-Za-z])[.):]?\s*(.*)", text, re.DOTALL)
    number = letters.find(lettered[1].upper()) if lettered else -1
    is_letter = lettered is not None and number >= 0 and lettered[2] in ("", options[number].strip())
    if is_letter and text not in [option.strip() for option in options]:
        return number
    return gold_of(options, text, where)


def _said(row: dict[str, Any], name: str, otherwise: object) -> str:
    """A row's value as text; tables write null, an empty text or NaN where there is none."""
    value = row.get(name)
    is_said = value is not None and value != "" and value == value  # NaN is none other than itself
    return str(value if is_said else otherwise)


def _seconds(row: dict[str, Any], name: str, where: str) -> float | None:
    """A row's seconds; None where there are none."""
    value = row.get(name)
    return None if value is None or value == "" or value != value else number_of(value, name, where)


def _words(text: str) -> list[str]:
    return "".join(c.lower() if c.isalnum() else " " for c in text).split()
