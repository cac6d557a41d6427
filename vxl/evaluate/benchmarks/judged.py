"""Benchmarks with answers that only a judge can score: which numbers wait for it, and who it was."""

import abc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vxl.errors import JudgeError
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.item import BenchmarkItem
from vxl.evaluate.scoring import Graded
from vxl.evaluate.work.judge import Judge

Ask = Callable[[str, str], str]
"""(system, user) -> the judge's reply."""
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class JudgedConfig(OfficialConfig):
    """Keys of benchmarks with a judge."""

    judge: str | None = None
    """URL of an OpenAI-compatible server whose model judges, such as http://localhost:8000/v1 (its key:
    OPENAI_API_KEY in the environment); null: answers are written, and what needs a judge is not computed."""
    judge_model: str | None = None
    """Which of its models; null: the one that published scores are of."""


J = TypeVar("J", bound=JudgedConfig)


class Judged(Official[J], abc.ABC):
    """A benchmark some of whose items wait for a judge (`BenchmarkItem.judged`)."""

    published_judge: ClassVar[str]
    """Whose verdicts the published scores are."""
    needs_judge: ClassVar[str]
    """The metrics that wait for a judge."""

    @property
    def judge_model(self) -> str:
        """The judge's name."""
        return self.config.judge_model or self.published_judge

    @abc.abstractmethod
    def verdict(self, item: BenchmarkItem, text: str, ask: Ask) -> dict[str, float] | None:
        """What a judge says of an answer, by name, `score` being the item's; None where its reply can't be
        read.

        Args:
            item: What was asked.
            text: What the model answered.
            ask: The judge.

        Raises:
            JudgeError: It does not answer.
        """

    def protocol(self) -> dict[str, Any]:
        """The judge, where there is one."""
        judge = {} if self.config.judge is None else {"judge": self.judge_model}
        return super().protocol() | judge


@dataclass(frozen=True)
class Judgement:
    """Answers after a judge has seen those that wait for it."""

    graded: list[Graded]
    notes: list[str]
    silent: JudgeError | None = None
    """Why what waits could not be judged."""


def judge(
    benchmark: Benchmark, items: Sequence[BenchmarkItem], graded: Sequence[Graded], file: Path
) -> Judgement:
    """Lets the benchmark's judge see the answers that wait for it; replies are kept in a file.

    Args:
        benchmark: Any; only a `Judged` one has such answers.
        items: What was asked.
        graded: The answers, in the same order.
        file: Where replies are kept.
    """
    waiting = [number for number, item in enumerate(graded) if item.judged]
    if not isinstance(benchmark, Judged) or not waiting:
        return Judgement(list(graded), [])
    what = benchmark.needs_judge
    if benchmark.config.judge is None:
        note = f"{what} is not computed: it needs a judge, an OpenAI-compatible server:  benchmark.judge=URL"
        return Judgement(list(graded), [note])
    judge_model = Judge(benchmark.config.judge, benchmark.judge_model, file)

    def seen(number: int) -> Graded:
        item = graded[number]
        verdict = None if item.failed else benchmark.verdict(items[number], item.text, judge_model.ask)
        reading = (
            None if verdict is None else ", ".join(f"{name} {value:g}" for name, value in verdict.items())
        )
        return replace(item, verdict=verdict, given=verdict["score"] if verdict else 0.0, parsed=reading)

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        verdicts = dict(zip(waiting, pool.map(seen, waiting), strict=True))
    except JudgeError as error:
        on_disk = f"every answer and {len(judge_model.kept)} replies of the judge are kept"
        silent = JudgeError(f"{error}\n  {what} is not computed; {on_disk}\n  type the same command again")
        return Judgement(list(graded), [f"{what} is not computed: the judge does not answer"], silent)
    finally:
        pool.shutdown(cancel_futures=True)
    unread = sum(item.verdict is None and not item.failed for item in verdicts.values())
    note = f"{what}: judged by {benchmark.judge_model}"
    if unread:
        note += f"; {unread} of {len(waiting)} verdicts could not be read and count as 0"
    return Judgement([verdicts.get(number, item) for number, item in enumerate(graded)], [note])
