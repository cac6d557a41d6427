"""Benchmarks: sets of multiple-choice questions about videos that a model did not learn from."""

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.data.clips import clips
from vxl.data.sample import Sample
from vxl.data.source.source import Source
from vxl.errors import DataError
from vxl.option.build import build
from vxl.option.option import Option
from vxl.option.rebuild import rebuild


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Option):
    """Keys of every benchmark (none so far)."""


@dataclass(frozen=True, kw_only=True)
class ClipsConfig(BenchmarkConfig):
    """The held-out questions of data=clips."""

    _target_: str = "vxl.evaluate.benchmark.Clips"


class Benchmark(abc.ABC):
    """Questions in a fixed order, so that two evaluations can be compared question by question.

    Built by `build(config, data=…, cache=…)`.

    Args:
        config: Its settings.
        data: The evaluated run's data option as plain values: what it trained on must not be asked.
        cache: Folder of prepared data.
    """

    name: str
    """What its results are called: `evaluate/<name>.json`."""

    def __init__(self, config: BenchmarkConfig, *, data: dict[str, Any], cache: Path) -> None:
        self.config, self.data, self.cache = config, data, cache

    @abc.abstractmethod
    def source(self) -> Source:
        """The samples; those without a question are left out."""

    def kind(self, sample: Sample) -> str:
        """What sort of question it is; accuracy is reported for each."""
        return sample.source or "question"


class Clips(Benchmark):
    """The held-out questions of data=clips: those of the run itself if it trained on clips."""

    name = "clips"

    def __init__(self, config: ClipsConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def source(self) -> Source:
        """The held-out samples, written on first use."""
        is_clips = self.data.get("_target_") == clips.ClipsConfig._target_
        found = build(rebuild(clips.ClipsConfig, self.data if is_clips else {}, "data"), cache=self.cache)
        found.prepare()
        return found.validation()


def numbers(source: Source, name: str, limit: int | None = None) -> list[int]:
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
    found = [number for number in range(len(source)) if source.record(number).question is not None]
    if not found:
        raise DataError(f"benchmark={name} holds {len(source)} samples, but no question with options.")
    return found[:limit]
