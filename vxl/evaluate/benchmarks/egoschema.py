"""EgoSchema (Mangalam et al. 2023, arXiv 2308.09126): five long options about three minutes of daily life."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vxl.evaluate.benchmarks.annotations import Counts
from vxl.evaluate.benchmarks.legacy import longvideobench
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.tables import field, one_file, read_json, read_rows
from vxl.evaluate.item import BenchmarkItem, choice
from vxl.evaluate.scoring import Graded
from vxl.patience import is_file


@dataclass(frozen=True, kw_only=True)
class EgoSchemaConfig(OfficialConfig):
    """EgoSchema: the 500 questions whose answers are public, of 5031.

    Data: `lmms-lab/egoschema` or the repository egoschema/EgoSchema, `questions.json` and
    `subset_answers.json`, `<q_uid>.mp4`; annotations MIT, clips under the Ego4D licence. Numbers: accuracy
    (chance 20 %). Scores over the 500 and over all 5031 differ by several points: never mix them.
    """

    _target_: str = "vxl.evaluate.benchmarks.egoschema.EgoSchema"
    full: bool = False
    """Answer all 5031 and write the file for the authors' server, which is never sent."""


class EgoSchema(Official[EgoSchemaConfig]):
    """EgoSchema, the public subset (or all, without a score)."""

    name = "egoschema"
    home = "https://github.com/egoschema/EgoSchema"
    licence = "annotations MIT, clips under the Ego4D licence"
    presets = ("lmms",)

    def __init__(self, config: EgoSchemaConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)
        items = 5031 if config.full else 500
        self.counts = Counts(items, items, options={5: items})

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of questions.json with subset_answers.json beside it, or of the Parquet forms."""
        path = one_file(place, ("questions.json", "test-00000-of-00001.parquet"))
        rows = read_rows(path)
        beside = path.with_name("subset_answers.json")
        golds = read_json(beside) if is_file(beside) else {}
        items = []
        for number, row in enumerate(rows):
            where = f"{path}, item {number}"
            key = str(row.get("q_uid") or field(row, "video_idx", where))
            gold = golds.get(key, row.get("answer"))
            if gold in (None, "") and not self.config.full:
                continue
            options = (
                tuple(str(field(row, f"option {n}", where)) for n in range(5))
                if "option 0" in row
                else tuple(str(option)[3:] for option in field(row, "option", where))
            )
            right, accepted = ("", ()) if gold in (None, "") else choice(options, int(gold))
            items.append(
                BenchmarkItem(
                    key=key,
                    index=len(items),
                    video=key,
                    cluster=key,
                    kind="question",
                    question=str(field(row, "question", where)),
                    options=options,
                    gold=right,
                    accepted=accepted,
                    seconds=180.0,
                )
            )
        return items

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """The first of A to E; a random letter of the published code is None here."""
        return longvideobench(text)

    def submission(self, graded: Sequence[Graded]) -> tuple[str, str] | None:
        """`{q_uid: number}` for the authors' server."""
        if not self.config.full:
            return None
        letters = {item.key: ascii_uppercase.index(item.parsed) if item.parsed else -1 for item in graded}
        return "egoschema_full.json", json.dumps(letters, indent=1) + "\n"
