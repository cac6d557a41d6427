"""The held-out questions of data=clips, by kind of question."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.data.clips import ClipsConfig
from vxl.data.source.source import SampleSource
from vxl.evaluate.benchmark import Benchmark, BenchmarkConfig
from vxl.option.build import build
from vxl.option.rebuild import rebuild


@dataclass(frozen=True, kw_only=True)
class ClipsBenchmarkConfig(BenchmarkConfig):
    """The held-out questions of data=clips."""

    _target_: str = "vxl.evaluate.benchmarks.clips.ClipsBenchmark"


class ClipsBenchmark(Benchmark):
    """The held-out questions of data=clips: those of the run itself if it trained on clips."""

    name = "clips"

    def __init__(self, config: ClipsBenchmarkConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def source(self) -> SampleSource:
        """The held-out samples, written on first use."""
        trained_on_clips = self.data.get("_target_") == ClipsConfig._target_
        settings = rebuild(ClipsConfig, self.data if trained_on_clips else {}, "data")
        clips = build(settings, cache=self.cache)
        clips.prepare()
        return clips.validation()
