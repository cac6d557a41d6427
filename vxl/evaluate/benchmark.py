"""Benchmarks: sets of multiple-choice questions about videos that a model did not learn from."""

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vxl.config.option import Option
from vxl.errors import DataError

if TYPE_CHECKING:
    from vxl.data.sample import Loaded, Sample
    from vxl.data.source import Source


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Option):
    """Keys of every benchmark (none so far)."""


@dataclass(frozen=True, kw_only=True)
class ClipsConfig(BenchmarkConfig):
    """The held-out questions of data=clips."""

    _target_: str = "vxl.evaluate.benchmark.Clips"


class Benchmark(abc.ABC):
    """Questions in a fixed order, so that two evaluations can be compared question by question."""

    name: str
    """What its results are called: `evaluate/<name>.json`."""

    @abc.abstractmethod
    def source(self) -> "Source":
        """The samples; those without a question are left out."""

    def kind(self, sample: "Sample") -> str:
        """What sort of question it is; accuracy is reported for each."""
        return sample.source or "question"

    def numbers(self, limit: int | None = None) -> list[int]:
        """Numbers of the source's samples that ask a question.

        Raises:
            DataError: There is none, or a sample's text is wrong.
        """
        source = self.source()
        bad = source.known_bad()
        if bad:
            raise DataError(
                f"benchmark {self.name}: {len(bad)} samples can't be used, the first is {bad[0].key} in "
                f"{bad[0].shard}: {bad[0].reason}\n"
                f"  scores over the rest would not compare with other runs; mend or remove them"
            )
        found = [number for number in range(len(source)) if source.record(number).question is not None]
        if not found:
            raise DataError(
                f"benchmark {self.name} holds {len(source)} samples, but no question with options."
            )
        return found[:limit]

    def questions(self, limit: int | None = None) -> Iterator["Loaded"]:
        """The questions with their media (not decoded), in order."""
        source = self.source()
        for number in self.numbers(limit):
            yield source.load(number)
