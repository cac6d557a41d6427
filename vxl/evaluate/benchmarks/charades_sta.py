"""Charades-STA (Gao et al. 2017, arXiv 1705.02101): when does what a sentence says happen."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.errors import DataError
from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import Counts, strings
from vxl.evaluate.benchmarks.legacy import seconds_of
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.tables import field, one_file, read_rows
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.metrics import Metric, scored
from vxl.evaluate.scoring import Graded
from vxl.patience import read_patiently
from vxl.statistics.clustered import ItemScore

_NUMBER = r"(\d+(?:\.\d+)?)"
_UNIT = r"\s*(?:s|sec|secs|seconds?)?\b"
_CLOCK = r"(\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?)"
BLIND = ((0.0, 10.0), (0.0, 15.0), (5.0, 15.0))
"""Answers that need no video: the same interval for every sentence."""
LEAST = (0.3, 0.5, 0.7)
"""Overlaps from which an answer is right."""


@dataclass(frozen=True, kw_only=True)
class CharadesStaConfig(OfficialConfig):
    """Charades-STA: 3720 sentences, each with the seconds between which it happens in one of 1334 videos.

    Data: `charades_sta_test.txt` (TALL) or the JSON mirror `lmms-eval/charades_sta`, videos
    `Charades_v1_480/`; non-commercial. The Parquet mirror rounds times to float16: up to 0.16 points.
    Numbers: R@1 at overlaps of 0.3, 0.5, 0.7 and the mean overlap, beside what the same interval for
    every sentence scores without a look at the video (mIoU 29.5).
    """

    _target_: str = "vxl.evaluate.benchmarks.charades_sta.CharadesSta"


class CharadesSta(Official[CharadesStaConfig]):
    """Charades-STA, test."""

    name = "charades_sta"
    home = "https://github.com/jiyanggao/TALL, videos https://prior.allenai.org/projects/charades"
    licence = "Charades: non-commercial"
    presets = ("lmms",)
    max_new_tokens = 50
    counts = Counts(3720, 1334)

    def __init__(self, config: CharadesStaConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of the text file (`ID start end##sentence`) or of the JSON form."""
        path = one_file(place, ("charades_sta_test.txt", "temporal_grounding_charades.json"))
        if path.suffix == ".txt":
            lines = read_patiently(path).decode("utf-8").splitlines()
            rows = [_line(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
        else:
            rows = [_row(row, f"{path}, item {n}") for n, row in enumerate(read_rows(path))]
            if path.suffix == ".parquet":
                self.notes.append("times of the Parquet mirror are float16: R@1 moves by up to 0.16 points")
        return [
            BenchmarkItem(
                key=f"{video}/{number}",
                index=number,
                video=video,
                cluster=video,
                kind="grounding",
                question=caption,
                gold=f"{start:g} - {end:g}",
                asks="interval",
                reference=(start, end),
                seconds=30.0,
            )
            for number, (video, start, end, caption) in enumerate(rows)
        ]

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """`videos` may be the released folder or the one above it."""
        return item.video, f"Charades_v1_480/{item.video}"

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """lmms-eval's, whose example is the first item's answer; vxl's without one."""
        if preset == "vxl":
            return PromptParts(
                f"Please find the visual event described by the sentence '{item.question}', determining its "
                "starting and ending times. The format should be: 'The event happens in <start time> - <end "
                "time> seconds'."
            )
        texts = strings()
        return PromptParts(f"{texts['charades.lmms.pre']}{item.question}. {texts['charades.lmms.post']}")

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """The overlap of the interval found and the right one; 0 where none is found."""
        parse = parse_interval if self.config.scoring == "correct" else legacy.charades
        interval = parse(text)
        reading = None if interval is None else f"{interval[0]:g} - {interval[1]:g}"
        score = 0.0 if interval is None else overlap(interval, item.reference)
        return Graded.of(item, text, reading, given=score, tokens=tokens)

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """mIoU, R@1, and the same for answers that need no video."""
        metrics = _overlaps("", scored(graded))
        for blind in BLIND:
            units = []
            for item in graded:
                start, _, end = item.answer.partition(" - ")
                units.append(
                    ItemScore(item.key, overlap(blind, (float(start), float(end))), item.cluster, item.kind)
                )
            metrics += _overlaps(f" of [{blind[0]:g}, {blind[1]:g}] for all", tuple(units))
        return metrics


def parse_interval(text: str) -> tuple[float, float] | None:
    """Seconds of the last interval that an answer names; None where there is none.

    `1:05 - 1:12`, `3 - 7`, `from 3 to 7 s`, `between 3 and 7`, `[3, 7]`, else exactly two numbers. Reversed
    ends are swapped; units other than seconds are never guessed.
    """
    reply = text.rpartition("</think>")[2].lower()
    if "-" in re.findall(r"(?:^|[\s(\[])(-)\d", reply):
        return None
    clock = re.findall(rf"{_CLOCK}\D{{1,12}}?{_CLOCK}", reply)
    if clock:
        return _ordered(seconds_of(clock[-1][0]), seconds_of(clock[-1][1]))
    join = rf"{_UNIT}\s*(?:-|–|—|to|and|until)\s*"
    pairs = list(re.finditer(rf"(?<![\d.]){_NUMBER}{join}{_NUMBER}{_UNIT}", reply))
    pairs += re.finditer(rf"[\[(]\s*{_NUMBER}{_UNIT}\s*,\s*{_NUMBER}{_UNIT}\s*[\])]", reply)
    if pairs:
        last = max(pairs, key=lambda match: match.start())
        return _ordered(float(last.group(1)), float(last.group(2)))
    numbers = re.findall(rf"(?<![\w.]){_NUMBER}", reply)
    return _ordered(float(numbers[0]), float(numbers[1])) if len(numbers) == 2 else None


def overlap(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Intersection over union of two intervals; 0 for an empty union."""
    union = max(first[1], second[1]) - min(first[0], second[0])
    both = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    return both / union if union > 0 else 0.0


def _overlaps(whose: str, units: tuple[ItemScore, ...]) -> list[Metric]:
    """mIoU and R@1 of overlaps."""
    found = [Metric(f"mIoU{whose}", units)]
    for least in LEAST:
        passed = tuple(unit._replace(score=float(unit.score >= least)) for unit in units)
        found.append(Metric(f"R@1 IoU {least}{whose}", passed))
    return found


def _ordered(start: float, end: float) -> tuple[float, float]:
    return (end, start) if end < start else (start, end)


def _line(line: str, where: str) -> tuple[str, float, float, str]:
    head, hashes, caption = line.partition("##")
    words = head.split()
    if not hashes or len(words) != 3:
        raise DataError(f"{where}: {line[:80]!r}.\n  expected: AB12C 3.2 11.5##person closes the door.")
    return words[0], float(words[1]), float(words[2]), caption.strip()


def _row(row: dict[str, Any], where: str) -> tuple[str, float, float, str]:
    start, end = field(row, "timestamp", where)
    video = str(field(row, "video", where)).removesuffix(".mp4")
    return video, float(start), float(end), str(field(row, "caption", where)).strip()
