from pathlib import Path

import pytest

from vxl.data.clips import ClipsConfig
from vxl.evaluate.benchmark import numbers
from vxl.evaluate.benchmarks.clips import ClipsBenchmarkConfig
from vxl.option.build import build
from vxl.option.schema import schema_of


def test_the_option_names_its_own_schema() -> None:
    assert schema_of(ClipsBenchmarkConfig._target_) is ClipsBenchmarkConfig


@pytest.mark.slow
def test_a_run_on_clips_is_asked_its_own_held_out_questions(tmp_path: Path) -> None:
    data = ClipsConfig(drawn=1, drawing_seed=3)
    values = {"_target_": data._target_, "drawn": 1, "drawing_seed": 3, "batch": 4}
    benchmark = build(ClipsBenchmarkConfig(), data=values, cache=tmp_path)
    source = benchmark.source()
    asked = [source.record(number) for number in numbers(source, "clips")]
    assert len(asked) >= 100
    assert len({sample.key for sample in asked}) == len(asked)
    assert len({benchmark.kind(sample) for sample in asked}) >= 5
    letters = [sample.question.answer for sample in asked if sample.question]
    assert all(len(sample.question.options) == 4 for sample in asked if sample.question)
    assert max(map(letters.count, "ABCD")) <= 0.3 * len(letters)
    assert numbers(source, "clips", limit=3) == numbers(source, "clips")[:3]
    # Drawn with the run's own settings: this is where its data option wrote.
    assert build(data, cache=tmp_path).place.is_dir()
