"""MLVU (Zhou et al. 2024, arXiv 2406.04264): seven choice tasks and two generation tasks on long videos."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vxl.errors import DataError
from vxl.evaluate import prompts
from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import Counts, choice_item, strings, task_item
from vxl.evaluate.benchmarks.judged import Ask, Judged, JudgedConfig
from vxl.evaluate.benchmarks.tables import field, read_rows
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.metrics import Metric, macro, micro, scored
from vxl.evaluate.scoring import Graded
from vxl.evaluate.work.judge import filled, last_dict, within
from vxl.patience import is_file

# Number and name of each dev file, and the task that papers call it.
_DEV = {
    "1_plotQA": "plotQA",
    "2_needle": "needle",
    "3_ego": "ego",
    "4_count": "count",
    "5_order": "order",
    "6_anomaly_reco": "anomaly_reco",
    "7_topic_reasoning": "topic_reasoning",
}
# Questions of each task of the test split.
_TEST = {
    "topic_reasoning": 91,
    "order": 70,
    "needleQA": 60,
    "count": 60,
    "ego": 53,
    "plotQA": 50,
    "tutorialQA": 43,
    "anomaly_reco": 39,
    "sportsQA": 36,
}
_GENERATION = {"8_sub_scene": "sub_scene", "9_summary": "summary"}
# Of each generation task: the authors' name of it, and what a judge scores.
_JUDGED = {
    "sub_scene": ("ssc", ("accuracy", "relevance")),
    "summary": ("vs", ("completeness", "reliability")),
}
# (file, index) -> what the authors meant; the answer given is none of the candidates (mended upstream only).
_ALIASES = {("2_needle", 34): "Catching the drone", ("2_needle", 338): "Catching the drone"}
_ALIAS_OF = "Catching a flying drone quadcopter"
# (file, index) of a row without any text.
_EMPTY = {("7_topic_reasoning", 26)}


@dataclass(frozen=True, kw_only=True)
class MlvuConfig(JudgedConfig):
    """MLVU: 2174 choice questions (dev) or 502 with six options (test) on videos of 3 minutes to 9 hours.

    Data: `MLVU/MVLU` (dev, gated) and `MLVU/MLVU_Test`; CC-BY-NC-SA 4.0, research. Numbers: M-Avg is the mean
    of the tasks' accuracies; some reports give the accuracy over all questions instead, 1 to 2 points apart:
    both are printed. Chance: 25 % (dev), 16.7 % (test). G-Avg (2 to 10) is a judge's: it is not comparable
    across judges.
    """

    _target_: str = "vxl.evaluate.benchmarks.mlvu.Mlvu"
    split: Literal["dev", "test"] = "dev"
    """The test split has six options a question and its own videos."""
    generation: bool = False
    """Ask the two generation tasks too; their answers are written, and scored where there is a judge."""


class Mlvu(Judged[MlvuConfig]):
    """MLVU dev and test."""

    name = "mlvu"
    home = "https://huggingface.co/datasets/MLVU/MVLU"
    licence = "CC-BY-NC-SA 4.0, research only, gated"
    presets = ("lmms", "official", "videoxl", "videoxl2")
    published_judge = "gpt-4-turbo"
    needs_judge = "G-Avg"

    def __init__(self, config: MlvuConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)
        if config.generation:
            self.max_new_tokens = 512
        elif config.split == "dev":
            kinds = dict(zip(_DEV.values(), (539, 355, 352, 206, 259, 200, 263), strict=True))
            self.counts = Counts(2174, 1122, options={4: 2174}, kinds=kinds)
        else:
            self.counts = Counts(502, options={6: 502}, kinds=_TEST)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of the dev split's folder of files, or of the test split's ground truth."""
        return self._dev(place) if self.config.split == "dev" else self._test(place)

    def _dev(self, place: Path) -> list[BenchmarkItem]:
        items: list[BenchmarkItem] = []
        files = _DEV | (_GENERATION if self.config.generation else {})
        for stem, task in files.items():
            path = _file(place, f"{stem}.json")
            for number, row in enumerate(read_rows(path)):
                where = f"{path}, item {number}"
                if not str(row.get("question") or "").strip() and (stem, number) in _EMPTY:
                    self.dropped.append(f"{stem}.json item {number}: the row is empty")
                    continue
                make = self._choice if stem in _DEV else self._generation
                key = f"dev/{task}/{number}"
                items.append(make(row, task, key, len(items), where, (stem, number)))
        return items

    def _test(self, place: Path) -> list[BenchmarkItem]:
        path = _file(place, "test_mcq_gt.json", "test-ground-truth/test_mcq_gt.json")
        rows = list(enumerate(read_rows(path)))
        items = []
        for number, row in rows:
            where = f"{path}, item {number}"
            task = str(field(row, "question_type", where))
            key = str(field(row, "question_id", where))
            items.append(self._choice(row, task, key, number, where, ("test", number)))
        if self.config.generation:
            for name, task in (("test_ssc_gt.json", "sub_scene"), ("test_vs_gt.json", "summary")):
                path = _file(place, name, f"test-ground-truth/{name}")
                for number, row in enumerate(read_rows(path)):
                    key = str(row.get("question_id") or f"test/{task}/{number}")
                    items.append(
                        self._generation(row, task, key, len(items), f"{path}, item {number}", ("", 0))
                    )
        return items

    def _choice(
        self, row: dict[str, Any], task: str, key: str, index: int, where: str, at: tuple[str, int]
    ) -> BenchmarkItem:
        answer = str(field(row, "answer", where))
        if at in _ALIASES and answer.strip() == _ALIAS_OF:
            row = row | {"answer": _ALIASES[at]}
            self.mended.append(
                f"{at[0]}.json item {at[1]}: the answer {_ALIAS_OF!r} is meant as {_ALIASES[at]!r}"
            )
        item = choice_item(row, task, key=key, index=index, where=where)
        if len(item.accepted) > 1:
            self.mended.append(f"{at[0]}.json item {at[1]}: the answer is there twice, both count")
        return replace(item, seconds=float(row.get("duration") or 0.0), facts={"file": at[0]})

    def _generation(
        self, row: dict[str, Any], task: str, key: str, index: int, where: str, at: tuple[str, int]
    ) -> BenchmarkItem:
        return replace(
            task_item(row, task, key=key, index=index, where=where),
            gold=str(row.get("answer") or ""),
            asks="open",
            judged=True,
            reference=row.get("scoring_points") or [],
            seconds=float(row.get("duration") or 0.0),
            facts={"file": at[0]},
        )

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """Dev videos lie in a folder a task, numbered or not; test videos are flat."""
        folder = str(item.facts.get("file", ""))
        plain = folder.partition("_")[2] or folder
        return f"{folder}/{item.video}", f"{plain}/{item.video}", item.video

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """The authors' system turn and bracket, lmms-eval's single turn, or Video-XL-2's."""
        texts = strings()
        if item.asks == "open":
            return PromptParts(item.question, texts["mlvu.official.system_generation"])
        options = "\n".join(prompts.bracketed(item.options))
        if preset == "lmms":
            return PromptParts(f"{item.question}\n{options}" + texts["mlvu.lmms.post"])
        if preset == "videoxl2":
            post = "\nOnly give the best option.\n\nBest option: ("
            return PromptParts(f"\n{item.question}\n{options}{post}")
        user = f"Question: {item.question}\nOptions:\n{options}\nOnly give the best option."
        return PromptParts(user, texts["mlvu.official.system"], texts["mlvu.official.prefill"])

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """The character before the first bracket."""
        return legacy.mlvu(text)

    def legacy_accepted(self, item: BenchmarkItem) -> tuple[str, ...]:
        """Of doubled golds the published code takes the last."""
        return (item.accepted[-1],) if item.accepted else (item.gold,)

    def verdict(self, item: BenchmarkItem, text: str, ask: Ask) -> dict[str, float] | None:
        """Two scores of 1 to 5, and their sum, as the authors' two prompts ask for them."""
        kind, names = _JUDGED[item.kind]
        values = {
            "{question}": item.question,
            "{scoring_points}": str(item.reference),
            "{answer}": item.gold,
            "{pred}": text,
        }
        texts = strings()
        reply = ask(texts[f"mlvu.judge.{kind}.system"], filled(texts[f"mlvu.judge.{kind}.user"], values))
        marks = last_dict(reply) or {}
        scores = {name: within(marks.get(f"score_{name}"), 1, 5) for name in names}
        points = {name: score for name, score in scores.items() if score is not None}
        return {"score": sum(points.values()), **points} if len(points) == len(names) else None

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """M-Avg, and the accuracy over all questions that some reports give instead; G-Avg and its halves."""
        metrics = []
        choices = [item for item in graded if item.options]
        if choices:
            metrics += [macro(choices, "M-Avg"), micro(choices, "micro accuracy")]
        generations = [item for item in graded if item.judged and item.given is not None]
        if generations:
            metrics.append(Metric("G-Avg", scored(generations), macro=True, scale=1.0))
            for name, kind in (("SSC", "sub_scene"), ("VS", "summary")):
                own = [item for item in generations if item.kind == kind]
                metrics += [Metric(name, scored(own), scale=1.0)] if own else []
        return metrics

    def protocol(self) -> dict[str, Any]:
        """The split and what is asked of it."""
        return super().protocol() | {"split": self.config.split, "generation": self.config.generation}


def _file(place: Path, *names: str) -> Path:
    """A file of the folder, wherever of the usual places it is."""
    candidates = [place / below / name for below in ("", "json", "MLVU/json") for name in names]
    file = next((path for path in candidates if is_file(path)), None)
    if file is None:
        holds = ", ".join(sorted(path.name for path in place.iterdir())[:12]) if place.is_dir() else "nothing"
        raise DataError(
            f"benchmark=mlvu: no {names[0]} in {place}, which holds: {holds}.\n"
            "  expected: the folder MLVU/json with 1_plotQA.json to 7_topic_reasoning.json (dev), or "
            "test-ground-truth/ (split=test)\n  type  benchmark.annotations=MLVU/json"
        )
    return file
