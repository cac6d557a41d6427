"""TempCompass (Liu et al. 2024, arXiv 2403.00476): action, direction, speed, order and change, four ways."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vxl.data.batch.letter import parse_letter
from vxl.errors import DataError
from vxl.evaluate.benchmarks.annotations import Counts, strings
from vxl.evaluate.benchmarks.judged import Ask, Judged, JudgedConfig
from vxl.evaluate.benchmarks.tables import field, read_json
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.metrics import Metric, macro, micro
from vxl.evaluate.scoring import Graded
from vxl.patience import is_file

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")
_SYSTEM = "You are an AI assistant for question answering."
"""Of the authors' judge."""
_LETTERED = re.compile(r"^([A-Z])\. (.*)$")
_LABELLED = re.compile(r"^((?:Option|Sentence|Caption) \w+): (.*)$")


@dataclass(frozen=True, kw_only=True)
class TempCompassConfig(JudgedConfig):
    """TempCompass: 5536 questions (and 2004 captions) on 410 short videos about how things change in time.

    Data: `lmms-eval/TempCompass` or the repository llyx97/TempCompass, `questions/`, `videos/<id>.mp4`;
    CC-BY-NC 4.0. Numbers: accuracy by kind of task and by aspect, through rules: an answer that fits no rule
    is wrong and counted, where the authors ask a language model.
    """

    _target_: str = "vxl.evaluate.benchmarks.tempcompass.TempCompass"
    captioning: bool = False
    """Ask for the 2004 captions too: they are written, and scored where there is a judge."""


class TempCompass(Judged[TempCompassConfig]):
    """TempCompass: choices by rules, captions by a judge."""

    name = "tempcompass"
    home = "https://github.com/llyx97/TempCompass"
    licence = "CC-BY-NC 4.0"
    presets = ("lmms", "official")
    published_judge = "gpt-3.5-turbo-1106"
    needs_judge = "captioning"

    def __init__(self, config: TempCompassConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)
        kinds = dict(zip(TASKS, (1580, 2453, 1503, 2004), strict=True))
        if not config.captioning:
            kinds.pop("captioning")
        self.counts = Counts(sum(kinds.values()), 410, kinds=kinds)
        if config.captioning:
            self.max_new_tokens = 256

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of questions/<task>.json."""
        folder = place / "questions" if (place / "questions").is_dir() else place
        items: list[BenchmarkItem] = []
        choices = read_json(folder / "multi-choice.json")
        finer = _finer(place, folder)
        for task in TASKS[: 4 if self.config.captioning else 3]:
            path = folder / f"{task}.json"
            for video, aspects in read_json(path).items():
                for aspect, rows in aspects.items():
                    for number, row in enumerate(rows):
                        key = f"{task}/{video}/{aspect}/{number}"
                        item = self._item(row, key, task, video, aspect, len(items), f"{path}, {key}")
                        if (video, aspect) in finer:
                            item = replace(item, labels={**item.labels, "finer": (finer[video, aspect],)})
                        items.append(
                            replace(item, reference=_first(choices, video, aspect)) if item.judged else item
                        )
        return items

    def _item(
        self, row: dict[str, Any], key: str, task: str, video: str, aspect: str, index: int, where: str
    ) -> BenchmarkItem:
        text, answer = str(field(row, "question", where)), str(row.get("answer") or "")
        question, options, labels = split_options(text, task)
        gold = ""
        if task != "captioning":
            forms = [(f"{a}. {b}", f"{a}: {b}", a, b) for a, b in zip(labels, options, strict=True)]
            right = [number for number, form in enumerate(forms) if answer in form]
            if not right:
                raise DataError(f"{where}: the answer {answer!r} is none of the options of {text!r}.")
            gold = ascii_uppercase[right[0]]
        return BenchmarkItem(
            key=key,
            index=index,
            video=video,
            cluster=video,
            kind=task,
            labels={"task": (task,), "aspect": (aspect,)},
            question=question,
            options=options,
            gold=gold,
            accepted=(gold,),
            asks="caption" if task == "captioning" else "choice",
            judged=task == "captioning",
            facts={"text": text, "labels": labels},
        )

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """`videos` may be the released folder or the one above it."""
        return item.video, f"videos/{item.video}"

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """The question as the file has it and the task's instruction: the authors' wording, vxl's too."""
        return PromptParts(item.facts["text"] + strings()["tempcompass.post"][item.kind])

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """By rules: yes or no as a word, a label or a text, else the rule of all benchmarks."""
        graded = super().grade(item, text, prefill, tokens=tokens)
        letter = graded.parsed
        if item.kind == "yes_no":
            match = re.match(r"\W*(yes|no)\b", text.rpartition("</think>")[2].lower())
            letter = None if match is None else "AB"[match.group(1) == "no"]
        elif item.kind == "caption_matching" and letter is None:
            letter = _by_label(text, item.facts["labels"])
        return replace(graded, parsed=letter)

    def verdict(self, item: BenchmarkItem, text: str, ask: Ask) -> dict[str, float] | None:
        """The judge answers the first choice question about the same video and aspect from the caption."""
        question, answer = item.reference
        prompt = strings()["tempcompass.judge.caption_evaluation_prompt"]
        user = f"{prompt}\nVideo Description:{text.strip()}\nMulti-Choice Question:\n{question}\n"
        reply = ask(_SYSTEM, user)
        lines = [line.replace("Answer:", "").strip() for line in reply.split("\n") if "Answer" in line]
        option = lines[-1] if lines else reply
        if not option.strip():
            return None
        letters = sum(option.count(f"{letter}.") for letter in "ABCD")
        return {"score": float(option.split(". ")[0] == answer.split(". ")[0] and letters == 1)}

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """The mean of the kinds of task with choices, each of them, the accuracy over all of their questions;
        captions where a judge has seen them."""
        choices = [item for item in graded if item.options]
        kinds = dict.fromkeys(item.kind for item in choices)
        parts = [micro([item for item in choices if item.kind == kind], kind) for kind in kinds]
        metrics = (
            [macro(choices, "mean of tasks"), *parts, micro(choices, "micro accuracy")] if choices else []
        )
        captions = [item for item in graded if item.judged and item.given is not None]
        return [*metrics, micro(captions, "captioning")] if captions else metrics


def _first(choices: dict[str, Any], video: str, aspect: str) -> tuple[str, str]:
    """The first choice question about a video's aspect, by which captions are judged: (question, answer)."""
    where = f"multi-choice.json, {video}/{aspect}"
    rows = choices.get(video, {}).get(aspect) or []
    if not rows:
        raise DataError(f"{where}: no question.\n  captions of this aspect are judged by its first one")
    return str(field(rows[0], "question", where)), str(field(rows[0], "answer", where))


def _finer(*folders: Path) -> dict[tuple[str, str], str]:
    """(video, aspect) -> the finer aspect, of meta_info.json where it lies beside the questions."""
    places = [place / "meta_info.json" for folder in folders for place in (folder, folder.parent)]
    path = next((place for place in places if is_file(place)), None)
    facts = {} if path is None else read_json(path)
    return {
        (video, aspect): str(said["type"])
        for video, fact in facts.items()
        for aspect, said in (fact.get("eval_dim") or {}).items()
        if said and said.get("type")
    }


def split_options(text: str, task: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(question, options, their labels) of a text whose last lines are options; yes and no for yes_no."""
    if task == "captioning":
        return text, (), ()
    if task == "yes_no":
        return text, ("yes", "no"), ("A", "B")
    pattern = _LETTERED if task == "multi-choice" else _LABELLED
    lines = text.split("\n")
    option_lines = [(n, match) for n, line in enumerate(lines) if (match := pattern.match(line))]
    if not option_lines:
        return text, (), ()
    question = "\n".join(lines[: option_lines[0][0]])
    return (
        question,
        tuple(match.group(2) for _, match in option_lines),
        tuple(match.group(1) for _, match in option_lines),
    )


def _by_label(text: str, labels: Sequence[str]) -> str | None:
    """`Caption B: …` or the label alone."""
    numbers = [n for n, label in enumerate(labels) if re.search(rf"\b{re.escape(label)}\b", text)]
    return ascii_uppercase[numbers[0]] if len(numbers) == 1 else parse_letter(text, labels)
