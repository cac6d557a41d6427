"""Benchmarks: questions about videos that a model did not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.data.batch.letter import parse_letter
from vxl.data.sample import Sample
from vxl.data.source.source import SampleSource
from vxl.errors import DataError
from vxl.evaluate import prompts
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.metrics import Metric, micro
from vxl.evaluate.scoring import Graded
from vxl.generate.loaded import Clip
from vxl.option.option import Option


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Option):
    """Keys of every benchmark (none so far)."""


class Benchmark:
    """Questions in a fixed order, so that two evaluations can be compared question by question.

    A benchmark of one's own overrides either `source` (samples as data options give them), or `items` and
    `looks`. Built by `build(config, data=…, cache=…)`.

    Args:
        config: Its settings.
        data: The evaluated run's data option as plain values: what it trained on must not be asked.
        cache: Folder of prepared data.
    """

    name: str
    """What its results are called: `evaluate/<name>.json`."""
    max_new_tokens: int | None = None
    """Longest answer; None for what evaluate.py says."""
    needs_times: bool = False
    """Whether prompts depend on when the frames are that are shown."""

    def __init__(self, config: BenchmarkConfig, *, data: dict[str, Any], cache: Path) -> None:
        self.config, self.data, self.cache = config, data, cache
        self.mended: list[str] = []
        """Defects of the authors' file that were put right, one line each."""
        self.dropped: list[str] = []
        """Items that were left out, with the reason."""
        self.notes: list[str] = []
        """What else a reader of the report should know."""
        self._source: SampleSource | None = None

    def source(self) -> SampleSource:
        """The samples; those without a question are left out."""
        raise NotImplementedError(f"{type(self).__name__} overrides neither `source` nor `items` and `looks`")

    def kind(self, sample: Sample) -> str:
        """What sort of question it is; accuracy is reported for each."""
        return sample.source or "question"

    def items(self) -> list[BenchmarkItem]:
        """All questions, in order.

        Raises:
            DataError: There is none, or one can't be used: scores over the rest would not compare.
        """
        self._source = source = self.source()
        items = []
        for number in numbers(source, self.name):
            sample = source.record(number)
            question = sample.question
            assert question is not None
            shard, _ = source.where(number)
            parts = [(visual.name, visual.start, visual.end) for visual in sample.visuals]
            video = f"{shard}:{parts}"
            items.append(
                BenchmarkItem(
                    key=sample.key,
                    index=len(items),
                    video=video,
                    cluster=video,
                    kind=self.kind(sample),
                    question=question.question,
                    options=question.options,
                    gold=question.answer,
                    accepted=(question.answer,),
                    seconds=sum(visual.seconds for visual in sample.visuals),
                    facts={"number": number},
                )
            )
        return items

    def looks(self, item: BenchmarkItem) -> list[Clip]:
        """What an item shows.

        Raises:
            DataError: It can't be read.
        """
        assert self._source is not None, "items() comes first"
        sample_and_media = self._source.load(item.facts["number"])
        return [
            Clip(media, visual.kind, visual.start, visual.end, visual.name)
            for visual, media in zip(sample_and_media.sample.visuals, sample_and_media.media, strict=True)
        ]

    def unit(self, item: BenchmarkItem) -> str:
        """What is watched once for several items: those that return the same."""
        return item.video

    @property
    def skips_missing(self) -> bool:
        """Whether items whose video is not there are left out; otherwise they are an error."""
        return False

    def missing(self, items: Sequence[BenchmarkItem]) -> list[BenchmarkItem]:
        """Items whose video is not there."""
        return []

    def is_known_missing(self, item: BenchmarkItem) -> bool:
        """Whether an item's video can't be had any more, by anybody."""
        return False

    def preset(self, family: str | None = None) -> str:
        """Whose wording is used.

        Args:
            family: That of the weights, such as videoxl2.
        """
        return "vxl"

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """The prompt of an item.

        Args:
            item: The item.
            preset: From `preset`.
            times: Seconds of the frames that are shown, where the benchmark needs them.
        """
        return prompts.vxl(item)

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """Reads and scores an answer.

        Args:
            item: What was asked.
            text: What the model wrote.
            prefill: How the assistant's turn began.
            tokens: Generated ones.
        """
        letter = parse_letter(text, item.options, prefill)
        return Graded.of(item, text, letter, accepted=item.accepted, tokens=tokens)

    def metrics(self, graded: Sequence[Graded]) -> list[Metric]:
        """The benchmark's numbers, the headline first."""
        return [micro(graded)]

    def submission(self, graded: Sequence[Graded]) -> tuple[str, str] | None:
        """(file name, contents) of answers in the form that the authors' tools take; None: there is none."""
        return None

    def draw(self, graded: Sequence[Graded], path: Path) -> bool:
        """Draws a picture of the benchmark's own; False: accuracy by kind is drawn."""
        return False

    def protocol(self) -> dict[str, Any]:
        """What scores depend on besides the model: the annotations, and how answers are read."""
        return {"benchmark": self.name}


def numbers(source: SampleSource, name: str, limit: int | None = None) -> list[int]:
    """Numbers of a source's samples that ask a question, at most `limit` of them.

    Raises:
        DataError: There is none, or a sample can't be used: scores over the rest would not compare.
    """
    bad = source.known_bad()
    if bad:
        raise DataError(
            f"benchmark={name}: {len(bad)} samples can't be used.\n"
            f"  the first: {bad[0].key} in {bad[0].shard}: {bad[0].reason}\n"
            f"  mend or remove them: scores over the rest would not compare with others"
        )
    asked_numbers = [number for number in range(len(source)) if source.record(number).question is not None]
    if not asked_numbers:
        raise DataError(f"benchmark={name} holds {len(source)} samples, but no question with options.")
    return asked_numbers[:limit]
