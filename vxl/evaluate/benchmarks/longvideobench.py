"""LongVideoBench (Wu et al. 2024, arXiv 2407.15754): questions that refer to moments of long videos."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from vxl.evaluate import prompts
from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import Counts
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.subtitles import interleave, read_lines
from vxl.evaluate.benchmarks.tables import field, one_file, read_rows, texts
from vxl.evaluate.item import BenchmarkItem, PromptParts, choice
from vxl.evaluate.scoring import Graded


@dataclass(frozen=True, kw_only=True)
class LongVideoBenchConfig(OfficialConfig):
    """LongVideoBench: 1337 questions of the validation split on 753 videos of 8 s to an hour.

    Data: `longvideobench/LongVideoBench` (gated), `lvb_val.json`, `videos/`, `subtitles/`; CC-BY-NC-SA 4.0.
    Numbers: accuracy over all questions (chance 21.3 %), and by length, level and category. The leaderboard
    mixes results with and without subtitles: the report says which.
    """

    _target_: str = "vxl.evaluate.benchmarks.longvideobench.LongVideoBench"
    split: Literal["val", "test"] = "val"
    """`test` has no public answers: it writes a file for the authors' server."""


class LongVideoBench(Official[LongVideoBenchConfig]):
    """LongVideoBench; with `subtitles` its lines are listed before the question."""

    name = "longvideobench"
    home = "https://huggingface.co/datasets/longvideobench/LongVideoBench"
    licence = "CC-BY-NC-SA 4.0, gated"
    presets = ("lmms", "official", "videoxl2")
    max_new_tokens = 32
    counts = Counts(
        1337,
        753,
        golds={"A": 291, "B": 304, "C": 270, "D": 290, "E": 182},
        options={3: 1, 4: 353, 5: 983},
        kinds={"15": 189, "60": 172, "600": 412, "3600": 564},
    )

    def __init__(self, config: LongVideoBenchConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)
        self.needs_times = config.subtitles is not None
        if config.split == "test":
            self.counts = Counts(5341)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of lvb_val.json, lvb_test_wo_gt.json or their Parquet twins."""
        names = {
            "val": ("lvb_val.json", "validation-00000-of-00001.parquet"),
            "test": ("lvb_test_wo_gt.json", "test-00000-of-00001.parquet"),
        }
        path = one_file(place, names[self.config.split])
        self.notes.append(
            "without subtitles"
            if self.config.subtitles is None
            else "subtitles=list: lines kept by the authors' rule stand before the question, not among frames"
        )
        return [self._item(row, n, f"{path}, item {n}") for n, row in enumerate(read_rows(path))]

    def _item(self, row: dict[str, Any], number: int, where: str) -> BenchmarkItem:
        if row.get("candidates") is not None:
            options = texts(row["candidates"], where)
        else:  # the Parquet form pads with "N/A"
            cells = [row.get(f"option{n}") for n in range(5)]
            options = tuple(str(option) for option in cells if option is not None and option != "N/A")
        right = row.get("correct_choice", -1)
        gold, accepted = choice(options, int(right)) if right is not None and right >= 0 else ("", ())
        labels = {
            "duration_group": (str(field(row, "duration_group", where)),),
            "level": (str(row.get("level", "")),),
            "question_category": (str(row.get("question_category", "")),),
        }
        video = str(field(row, "video_path", where))
        return BenchmarkItem(
            key=str(field(row, "id", where)),
            index=number,
            video=video,
            cluster=video,
            kind=labels["duration_group"][0],
            labels=labels,
            question=str(field(row, "question", where)),
            options=options,
            gold=gold,
            accepted=accepted,
            seconds=float(row.get("duration") or 0.0),
            subtitles=row.get("subtitle_path"),
            facts={"begins": float(row.get("starting_timestamp_for_subtitles") or 0)},
        )

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """`videos` may be the released folder or the one above it."""
        return item.video, f"videos/{item.video}"

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """The question, behind the lines that are said while frames are shown, where subtitles are given."""
        prompt = super().ask(item, preset, times)
        if self.config.subtitles is None or item.subtitles is None:
            return prompt
        path = Path(self.config.subtitles).expanduser() / item.subtitles
        cues = read_lines(path, item.facts["begins"], item.seconds)
        lines = [line for line in interleave(cues, times) if isinstance(line, str)]
        return prompt._replace(user="\n".join([*lines, prompt.user])) if lines else prompt

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """lmms-eval's; the authors' begins with `Question: `."""
        prompt = prompts.letter_dots(item, "\n")
        return PromptParts(f"Question: {prompt.user}") if preset == "official" else prompt

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """As published, without the letter drawn where there is none."""
        return legacy.longvideobench(text)

    def submission(self, graded: Sequence[Graded]) -> tuple[str, str] | None:
        """`{id: number of the option}` for the authors' server, of the test split."""
        if self.config.split != "test":
            return None
        letters = {item.key: ascii_uppercase.index(item.parsed) if item.parsed else -1 for item in graded}
        return "longvideobench_test.json", json.dumps(letters, indent=1) + "\n"

    def protocol(self) -> dict[str, Any]:
        """Subtitles change the task."""
        subtitles = "none" if self.config.subtitles is None else "list"
        return super().protocol() | {"split": self.config.split, "subtitles": subtitles}
