"""Video-MMMU (Hu et al. 2025, arXiv 2501.13826): what a lecture teaches, and whether it can be applied."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.evaluate.benchmarks.annotations import Counts, letter_number, strings
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.tables import field, one_file, read_rows, texts
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.metrics import Metric, micro
from vxl.evaluate.prompts import dotted
from vxl.evaluate.scoring import Graded

TRACKS = ("Perception", "Comprehension", "Adaptation")
_CATEGORIES = ("Art", "Business", "Humanities", "Medicine", "Science", "Engineering")


@dataclass(frozen=True, kw_only=True)
class VideoMmmuConfig(OfficialConfig):
    """Video-MMMU: 300 lectures, each asked for what it says, for what it means, and for its use.

    Data: `lmms-eval/VideoMMMU`, Parquet (needs `vxl[parquet]`), `<Category>/<id>.mp4`. Numbers: accuracy by
    track and over all 900. The question of a track may stand on the last frame: the last one must be shown.
    """

    _target_: str = "vxl.evaluate.benchmarks.videommmu.VideoMmmu"


class VideoMmmu(Official[VideoMmmuConfig]):
    """Video-MMMU, three tracks."""

    name = "videommmu"
    home = "https://huggingface.co/datasets/lmms-eval/VideoMMMU"
    licence = "research"
    presets = ("lmms",)
    max_new_tokens = 1024
    counts = Counts(900, 300, kinds=dict.fromkeys(TRACKS, 300))

    def __init__(self, config: VideoMmmuConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of the three tracks' folders of Parquet, or of JSON files of the same rows."""
        items: list[BenchmarkItem] = []
        for track in TRACKS:
            path = one_file(
                place, (f"{track}/test-00000-of-00001.parquet", f"{track}.parquet", f"{track}.json")
            )
            for number, row in enumerate(read_rows(path)):
                items.append(self._item(row, track, len(items), f"{path}, row {number}"))
        return items

    def _item(self, row: dict[str, Any], track: str, index: int, where: str) -> BenchmarkItem:
        name = str(field(row, "id", where))
        kind = str(row.get("question_type") or "")
        printed = texts(row.get("options") or [], where)
        has_letters = bool(printed) and all(re.match(r"[A-Z][.)] ", option) for option in printed)
        options = tuple(option[3:] for option in printed) if has_letters else printed
        answer = str(field(row, "answer", where))
        is_open = kind == "open" or not options
        gold = answer if is_open else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[letter_number(answer, options, where)]
        return BenchmarkItem(
            key=f"{track}/{name}",
            index=index,
            video=name,
            cluster=name,
            kind=track,
            labels={"track": (track,), "category": (_category(name),)},
            question=str(field(row, "question", where)),
            options=() if is_open else options,
            printed=printed if has_letters else tuple(dotted(printed)),
            gold=gold,
            accepted=(gold,),
            asks="open" if is_open else "choice",
        )

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """Videos lie in a folder a category."""
        return f"{_category(item.video)}/{item.video}", item.video

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """The authors' wording, for every preset."""
        texts = strings()
        lines = "\n".join([item.question, *item.printed]) if item.printed else item.question
        if item.kind != "Adaptation":
            return PromptParts(lines + texts["videommmu.perception_and_comprehension_prompt"])
        how = "videommmu.open_ended_prompt" if item.asks == "open" else "videommmu.mcq_prompt"
        return PromptParts(texts["videommmu.pre_prompt"] + texts[how] + lines)

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """A letter, or for an open question the same number or words."""
        if item.asks == "choice":
            return super().grade(item, text, prefill, tokens=tokens)
        reading = parse_open(text, item.gold)
        score = float(reading is not None and same(reading, item.gold))
        return Graded.of(item, text, reading, given=score, tokens=tokens)

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """Over all questions, and by track."""
        tracks = [track for track in TRACKS if any(item.kind == track for item in graded)]
        parts = [micro([item for item in graded if item.kind == track], track) for track in tracks]
        return [micro(graded), *parts]


def parse_open(text: str, gold: str) -> str | None:
    """What an open answer says: the words behind its last "answer is", else its last number where a number is
    wanted, else its last line."""
    reply = text.rpartition("</think>")[2].strip().strip("*$ .")
    if not reply:
        return None
    endings = re.findall(r"(?i:answer|result)(?:\s+is)?\s*[:=]?\s*([^\n]+)", reply)
    tail = endings[-1] if endings else reply.splitlines()[-1]
    if _number(gold) is None:
        return tail.strip(" .*$")
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", tail) or re.findall(
        r"-?\d[\d,]*(?:\.\d+)?", reply
    )
    return numbers[-1] if numbers else None


def same(answer: str, gold: str) -> bool:
    """MMMU's comparison: numbers to two decimals, words without case."""
    first, second = _number(answer), _number(gold)
    if first is not None and second is not None:
        return round(first, 2) == round(second, 2)
    return " ".join(answer.lower().split()) == " ".join(gold.lower().split())


def _number(text: str) -> float | None:
    try:
        return float(text.strip().replace(",", ""))
    except ValueError:
        return None


def _category(name: str) -> str:
    return next((word for word in _CATEGORIES if word.lower() in name.lower()), "")
