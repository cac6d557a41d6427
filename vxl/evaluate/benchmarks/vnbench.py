"""VNBench (Zhao et al. 2024, arXiv 2406.09367): needles edited or inserted into videos, four tries each."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.errors import DataError
from vxl.evaluate import prompts
from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import Counts, gold_of, strings
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.tables import field, one_file, read_rows, texts
from vxl.evaluate.item import BenchmarkItem, PromptParts, choice
from vxl.evaluate.metrics import Metric, micro
from vxl.evaluate.scoring import Graded
from vxl.statistics.clustered import ItemScore

TYPES = (
    "ret_edit1",
    "ret_insert1",
    "ret_insert2",
    "ord_edit1",
    "ord_insert1",
    "ord_insert2",
    "cnt_edit1",
    "cnt_edit2",
    "cnt_insert1",
)
# The two are swapped in `type` against the file's name (VideoNIAH issue 4).
_SWAPPED = {"ret_insert1": "ret_insert2", "ret_insert2": "ret_insert1"}
TRIES = 4


@dataclass(frozen=True, kw_only=True)
class VnBenchConfig(OfficialConfig):
    """VNBench: 1350 videos, each asked four times with the options in another order.

    Data: `videoniah/VNBench`, `VNBench-main-4try.json`; academic use only. Numbers: a video is right
    only where all four tries are; mean of the nine types (chance 0.39 %), and by kind of task.
    Nine videos are made of each of 150 clips: errors are clustered by clip.
    """

    _target_: str = "vxl.evaluate.benchmarks.vnbench.VnBench"


class VnBench(Official[VnBenchConfig]):
    """VNBench, main, four tries."""

    name = "vnbench"
    home = "https://huggingface.co/datasets/videoniah/VNBench"
    licence = "academic use only"
    presets = ("lmms", "official", "videoxl")
    counts = Counts(
        5400,
        1350,
        golds={"A": 1341, "B": 1343, "C": 1366, "D": 1350},
        options={4: 5400},
        kinds=dict.fromkeys(TYPES, 600),
    )

    def __init__(self, config: VnBenchConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of VNBench-main-4try.json."""
        path = one_file(place, ("VNBench-main-4try.json",))
        rows = read_rows(path)
        items = [self._item(row, number, f"{path}, item {number}") for number, row in enumerate(rows)]
        swapped = sum(item.facts["swapped"] for item in items)
        if swapped:
            self.mended.append(
                f"{swapped} items: `type` says ret_insert1 where the file's name says ret_insert2, or the "
                "other way round; grouped by `type`, printed by the file's name"
            )
        return items

    def _item(self, row: dict[str, Any], number: int, where: str) -> BenchmarkItem:
        options = texts(field(row, "options", where), where)
        right = gold_of(options, str(field(row, "gt", where)), where)
        gold, accepted = choice(options, right)
        gt_option = row.get("gt_option")
        if gt_option is not None and str(gt_option) not in accepted:
            raise DataError(
                f"{where}: gt_option {gt_option!r}, but gt {row['gt']!r} is option {gold}.\n"
                "  early downloads are broken like this (VideoNIAH issue 1): fetch the file again"
            )
        video = str(field(row, "video", where)).removeprefix("./").removeprefix("VNBench/")
        stem, kind = Path(video).stem, str(field(row, "type", where))
        kind_of_file = "_".join(stem.rsplit("_", 2)[1:])
        swapped = kind in _SWAPPED and kind_of_file == _SWAPPED[kind]
        printed = kind_of_file if swapped else kind
        return BenchmarkItem(
            key=f"{stem}/{field(row, 'try', where)}",
            index=number,
            video=video,
            cluster=stem.rsplit("_", 2)[0],
            kind=printed,
            labels={"task": (printed.split("_")[0],), "type": (printed,), "_type": (kind,)},
            question=str(field(row, "question", where)),
            options=options,
            gold=gold,
            accepted=accepted,
            seconds=float(row.get("length") or 0.0),
            facts={"swapped": swapped, "type": kind, "try": row["try"]},
        )

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """`videos` may be the released folder or the one above it."""
        return item.video, f"VNBench/{item.video}"

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """The authors' (lmms-eval has no other), or Video-XL's with its brackets."""
        if preset == "videoxl":
            options = "\n".join(prompts.bracketed(item.options))
            user = f"Question: {item.question}\nOptions:\n{options}\n"
            return PromptParts(user, strings()["mlvu.official.system"])
        return prompts.letter_dots(item)

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """The first letter that occurs before the first full stop."""
        return legacy.vnbench(text)

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """All four tries right: overall, by task and by type; and the accuracy of single tries."""
        units = four_of_four(graded)
        metrics = [Metric("overall (4 of 4)", units, macro=True)]
        for task in ("ret", "ord", "cnt"):
            some = tuple(unit for unit in units if unit.stratum.startswith(task))
            metrics += [Metric(f"{task} (4 of 4)", some, macro=True)] if some else []
        for kind in TYPES:
            some = tuple(unit for unit in units if unit.stratum == kind)
            metrics += [Metric(f"{kind} (4 of 4)", some)] if some else []
        return [*metrics, micro(graded, "accuracy of single tries")]

    def submission(self, graded: Sequence[Graded]) -> tuple[str, str] | None:
        """Lines of the authors' result file; ids count a video's tries in the file's order."""
        counts: Counter[str] = Counter()
        lines = []
        for item in graded:
            stem, _, attempt = item.key.rpartition("/")
            kind = next(iter(item.labels.get("_type", (item.kind,))))  # as the file has it
            line = {
                "question_id": f"{stem}_{counts[stem]}",
                "pred": item.text,
                "gt": item.answer,
                "type": kind,
                "try": int(attempt) if attempt.isdigit() else attempt,
                "prompt": item.question,
            }
            lines.append(json.dumps(line, ensure_ascii=False))
            counts[stem] += 1
        return "vnbench_results.jsonl", "\n".join(lines) + "\n"


def four_of_four(graded: Sequence[Graded]) -> tuple[ItemScore, ...]:
    """One unit a video: 1 where every one of its tries is right.

    A video with fewer answers than four is wrong: tries that are not there are not right.
    """
    tries: dict[str, list[Graded]] = {}
    for item in graded:
        tries.setdefault(item.key.rpartition("/")[0], []).append(item)
    return tuple(
        ItemScore(
            stem, float(len(items) >= TRIES and all(i.right for i in items)), items[0].cluster, items[0].kind
        )
        for stem, items in tries.items()
    )
