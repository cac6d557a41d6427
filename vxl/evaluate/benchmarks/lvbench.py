"""LVBench (Wang et al. 2024, arXiv 2406.08035): 1549 questions about 103 videos of an hour on average."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.data.batch.answer import INSTRUCTION
from vxl.errors import DataError
from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import Counts, gold_of, letter_number
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.tables import field, one_file, read_rows, texts
from vxl.evaluate.item import BenchmarkItem, PromptParts, choice
from vxl.evaluate.scoring import Graded

SHORT = {
    "key information retrieval": "KIR",
    "event understanding": "EU",
    "summarization": "Sum",
    "entity recognition": "ER",
    "reasoning": "Rea",
    "temporal grounding": "TG",
}
_OPTION = re.compile(r"^\(([A-D])\) ?(.*)$")


@dataclass(frozen=True, kw_only=True)
class LvBenchConfig(OfficialConfig):
    """LVBench: 1549 questions on 103 videos of 30 minutes to 2 hours.

    Data: `video_info.meta.jsonl` of the repository zai-org/LVBench; videos are not shipped (a mirror that the
    author names: `AIWinter/LVBench`); CC-BY-NC-SA 4.0. A copy with 1519 questions is about: not comparable.
    Numbers: accuracy over all questions (chance 25 %), by type of question (an item counts in each of its
    types) and of video.
    """

    _target_: str = "vxl.evaluate.benchmarks.lvbench.LvBench"


class LvBench(Official[LvBenchConfig]):
    """LVBench."""

    name = "lvbench"
    home = "https://github.com/zai-org/LVBench"
    licence = "CC-BY-NC-SA 4.0"
    presets = ("lmms", "videoxl2")
    counts = Counts(1549, 103, golds={"A": 383, "B": 374, "C": 380, "D": 412}, options={4: 1549})
    known_missing = frozenset(
        [
            "idZkam9zqAs",
            "aJI8XTa_DII",
            "IsdbCjlZ5cQ",
            "5dZ_lvDgevk",
            "EpMLAQbSYAw",
            "Z4HGQL_McDQ",
            "QWXlvx1GoTY",
            "28CIeC8cZks",
            "t-RtDI2RWQs",
            "qYMnM5blZIE",
            "gXnhqF0TqqI",
            "QgWRyDV9Ozs",
        ]
    )

    def __init__(self, config: LvBenchConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)
        self._asked = config.prompt

    def preset(self, family: str | None = None) -> str:
        """Remembered: answers are read as those read them whose wording it is (`scoring=legacy`)."""
        self._asked = super().preset(family)
        return self._asked

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of the authors' file, or of the flat copies of other code (JSON or Parquet)."""
        names = ("video_info.meta.jsonl", "lvbench_clean.json", "train-00000-of-00001.parquet")
        path = one_file(place, names)
        rows = read_rows(path)
        items: list[BenchmarkItem] = []
        for number, row in enumerate(rows):
            where = f"{path}, row {number}"
            if "qa" in row:
                for question in row["qa"]:
                    items.append(self._nested(row, question, len(items), where))
            elif "candidates" in row:
                items.append(self._flat(row, items, where))
            else:
                items.append(self._parquet(row, len(items), where))
        if items and len(items) == 1519:
            self.notes.append("a copy of 1519 questions: not comparable with scores over 1549")
        return items

    def _nested(self, row: dict[str, Any], question: dict[str, Any], index: int, where: str) -> BenchmarkItem:
        key = str(field(row, "key", where))
        minutes = (row.get("video_info") or {}).get("duration_minutes") or 0
        words, options = split_question(str(field(question, "question", where)), where)
        right = letter_number(field(question, "answer", where), options, where)
        uid = str(field(question, "uid", where))
        return self._make(
            key, uid, row.get("type"), question, words, options, right, index, 60.0 * float(minutes)
        )

    def _flat(self, row: dict[str, Any], before: Sequence[BenchmarkItem], where: str) -> BenchmarkItem:
        video = str(field(row, "video", where)).removesuffix(".mp4")
        printed = texts(field(row, "candidates", where), where)
        options = tuple(_OPTION.sub(r"\2", option) for option in printed)
        answer = _OPTION.sub(r"\2", str(field(row, "answer", where)))
        number = sum(item.video == video for item in before)
        words = split_question(str(field(row, "question", where)), where, strict=False)[0]
        right = gold_of(options, answer, where)
        return self._make(video, str(number), row.get("type"), row, words, options, right, len(before), 0.0)

    def _parquet(self, row: dict[str, Any], index: int, where: str) -> BenchmarkItem:
        key = Path(str(field(row, "video_path", where))).stem
        words, options = split_question(str(field(row, "question", where)), where)
        right = letter_number(field(row, "answer", where), options, where)
        uid = str(field(row, "uid", where))
        return self._make(key, uid, row.get("type"), row, words, options, right, index, 0.0)

    def _make(
        self,
        key: str,
        uid: str,
        kind: Any,
        question: dict[str, Any],
        words: str,
        options: tuple[str, ...],
        right: int,
        index: int,
        seconds: float,
    ) -> BenchmarkItem:
        gold, accepted = choice(options, right)
        if len(accepted) > 1:
            self.mended.append(f"{key}/{uid}: the answer is there twice, both count")
        names = question.get("question_type") or []
        types = tuple(str(name) for name in (names if isinstance(names, list | tuple) else [names]))
        labels = {"question_type": tuple(SHORT.get(name, name) for name in types)}
        if kind:
            labels["video_type"] = (str(kind),)
        return BenchmarkItem(
            key=f"{key}/{uid}",
            index=index,
            video=key,
            cluster=key,
            kind=labels["question_type"][0] if types else "question",
            labels=labels,
            question=words,
            options=options,
            gold=gold,
            accepted=accepted,
            seconds=seconds,
            facts={"uid": uid, "time_reference": str(question.get("time_reference") or "")},
        )

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """lmms-eval's; Video-XL-2's doubles the letters, as its log shows."""
        lines = [f"({letter}) {option}" for letter, option in zip("ABCD", item.options, strict=False)]
        if preset == "videoxl2":
            doubled = [f"{line[1]}. {line}" for line in lines]
            return PromptParts("\n".join([item.question, *doubled, INSTRUCTION]))
        return PromptParts("\n".join([item.question, *lines, "Answer the question with the option letter"]))

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """The authors' reader, or that of Video-XL-2's and VideoChat-Flash's code."""
        family = self._asked == "videoxl2"
        return (legacy.lvbench_family if family else legacy.lvbench)(text)

    def submission(self, graded: Sequence[Graded]) -> tuple[str, str] | None:
        """`{uid: letter}`, which the authors' script reads; it leaves out what was not answered."""
        letters = {item.key.rpartition("/")[2]: item.parsed or "" for item in graded}
        return "lvbench_answers.json", json.dumps(letters, indent=1) + "\n"


def split_question(text: str, where: str, *, strict: bool = True) -> tuple[str, tuple[str, ...]]:
    """(question, options) of a text whose last lines are `(A) …`.

    Raises:
        DataError: There are no such lines.
    """
    words, options = [], []
    for line in text.split("\n"):
        match = _OPTION.match(line)
        if match and len(options) == "ABCD".index(match.group(1)):
            options.append(match.group(2))
        elif options:
            options[-1] += "\n" + line
        else:
            words.append(line)
    if strict and len(options) < 2:
        raise DataError(f"{where}: no lines '(A) …' in the question {text[:80]!r}.")
    return "\n".join(words), tuple(options)
