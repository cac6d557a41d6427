"""The held-out questions of data=long."""

from dataclasses import asdict
from pathlib import Path

import pytest

from vxl.data.long import LongConfig
from vxl.evaluate.benchmarks.long import LongBenchmark, LongBenchmarkConfig
from vxl.video.virtual import Segments

TRAINED = LongConfig(videos=2, held_out_videos=2, needle_seconds=2.0, minutes=[0.5, 1.0])


def benchmark(cache: Path, clips: Path, **settings) -> LongBenchmark:
    return LongBenchmark(
        LongBenchmarkConfig(**settings), data=asdict(TRAINED) | {"folder": str(clips)}, cache=cache
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the clips, once they are prepared."""
    return tmp_path_factory.mktemp("cache")


def test_questions_carry_length_and_how_long_ago(cache: Path, clips: Path) -> None:
    made = benchmark(cache, clips)
    items = made.items()
    assert len(items) == 14
    assert {item.kind for item in items} == set(TRAINED.kinds)
    assert len({item.cluster for item in items}) == 2
    assert {label for item in items for label in item.labels["length"]} <= {"0.5 to 1 min", "1 to 2 min"}
    assert all(item.labels["ago"][0].endswith("min before the end") for item in items)
    (look,) = made.looks(items[0])
    assert isinstance(look.media, Segments)
    assert look.media.info.seconds == items[0].seconds


def test_the_same_questions_made_harder(cache: Path, clips: Path) -> None:
    harder = benchmark(cache, clips, minutes=[20.0, 30.0], latest=0.25, held_out_videos=1)
    items = harder.items()
    assert len(items) == 7
    assert all(1200 <= item.seconds <= 1800 for item in items)
    ago = {item.labels["ago"][0] for item in items}
    assert ago <= {"8 to 16 min before the end", "16 to 32 min before the end"}
    assert harder.protocol() != benchmark(cache, clips).protocol()
    assert harder.protocol()["needle_seconds"] == 2.0


def test_another_run_is_asked_the_defaults(tmp_path: Path) -> None:
    made = LongBenchmark(LongBenchmarkConfig(), data={"_target_": "vxl.data.clips.Clips"}, cache=tmp_path)
    assert made.settings == LongConfig()
