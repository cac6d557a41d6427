"""The held-out questions of data=long, by kind, length of the video, and how long ago one must look back."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vxl.data.long import LongConfig
from vxl.data.long.source import LongSource
from vxl.evaluate.benchmark import Benchmark, BenchmarkConfig
from vxl.evaluate.item import BenchmarkItem
from vxl.option.build import build
from vxl.option.rebuild import rebuild


@dataclass(frozen=True, kw_only=True)
class LongBenchmarkConfig(BenchmarkConfig):
    """The held-out questions of data=long, as hard as those that the run trained on, or harder.

    Numbers: the share of right letters; a quarter by chance (a third where the question is what came next).
    Ask with blind=true too: what a model knows without the video is not memory of it.
    """

    _target_: str = "vxl.evaluate.benchmarks.long.LongBenchmark"
    held_out_videos: int | None = None
    """How many videos; null, here and below: as in the run's data, or data=long's default."""
    minutes: list[float] | None = None
    """Shortest and longest video."""
    needles: int | None = None
    """Coloured shapes that appear."""
    distractors: int | None = None
    """Grey shapes that are not asked about."""
    needle_seconds: float | None = None
    """How long each is shown."""
    needle_size: float | None = None
    """Height of a shape, as a share of the picture's."""
    latest: float | None = None
    """Share of the video after which nothing is shown that is asked about."""


class LongBenchmark(Benchmark):
    """The held-out questions of data=long."""

    name = "long"
    config: LongBenchmarkConfig

    def __init__(self, config: LongBenchmarkConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)
        trained_on = data if data.get("_target_") == LongConfig._target_ else {}
        asked = {key: value for key, value in asdict(config).items() if value is not None and key[0] != "_"}
        self.settings = rebuild(LongConfig, {**trained_on, **asked}, "data")

    def source(self) -> LongSource:
        """The held-out samples, whose scenes are written on first use."""
        data = build(self.settings, cache=self.cache)
        data.prepare()
        return data.validation()

    def items(self) -> list[BenchmarkItem]:
        """All questions, each with its video's length and how long before the end one must look back."""
        found = super().items()
        assert isinstance(self._source, LongSource)
        labelled = []
        for item in found:
            ago = item.seconds - self._source.about(item.facts["number"]).second
            labels = {
                "length": (_octave(item.seconds),),
                "ago": (f"{_octave(ago)} before the end",),
            }
            labelled.append(replace(item, labels=labels))
        return labelled

    def protocol(self) -> dict[str, Any]:
        """All that the videos and questions follow from."""
        keys = ("held_out_videos", "minutes", "kinds", "needles", "distractors", "needle_seconds")
        keys += ("needle_size", "latest", "drawing_seed")
        return super().protocol() | {key: getattr(self.settings, key) for key in keys}


def _octave(seconds: float) -> str:
    """About how long: between a power of two of minutes and the next."""
    low = 2 ** math.floor(math.log2(max(seconds, 1.0) / 60))
    return f"{low:g} to {2 * low:g} min"
