"""What is logged: means over the last steps by one rule, which a resumed run goes on with."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from vxl.logger.csv import Csv, CsvConfig
from vxl.run.metrics import MetricsFile
from vxl.train.report.meter import MeasuredStep, StepMeter, means
from vxl.train.step.train_step import TrainStep


@dataclass
class Trainer:
    """What the meter asks of Lightning's trainer."""

    global_step: int = 0
    max_steps: int = 7
    world_size: int = 1
    is_global_zero: bool = True


def step(number: int) -> TrainStep:
    return TrainStep(
        loss=float(number),
        supervised=number,
        grad_norm=2.0 * number,
        part_norms={"llm": 2.0 * number},
        rates={"llm": 0.1 * number},
        samples=2,
        tokens=10 * number,
        visual_tokens=4 * number,
        frames=number,
        drawn={"ratio": 32.0} if number % 2 else {},
        micro_batches=2,
        answers=[number > 3],
    )


def meter(folder: Path, every: int) -> StepMeter:
    return StepMeter(MetricsFile(folder / "metrics.csv"), Csv(CsvConfig()), every, None)


def losses(folder: Path) -> list[tuple[int, float]]:
    return MetricsFile(folder / "metrics.csv").values("loss")


def weighed(first: int, last: int) -> float:
    """The mean of losses 1, 2, … over as many supervised tokens."""
    return sum(n * n for n in range(first, last + 1)) / sum(range(first, last + 1))


def test_a_row_is_the_mean_over_the_tokens_of_the_steps_since_the_row_before(tmp_path) -> None:
    watching, trainer = meter(tmp_path, 3), Trainer()
    for number in range(1, 8):
        trainer.global_step = number
        report = watching.measure(step(number), trainer)  # ty: ignore[invalid-argument-type]
        assert report.numbers["loss"] == pytest.approx(
            weighed(max(1, number - 2), number)
        )  # as the bar shows
    assert losses(tmp_path) == [
        (1, 1.0),
        (3, pytest.approx(weighed(1, 3))),
        (6, pytest.approx(weighed(4, 6))),
        (7, pytest.approx(weighed(5, 7))),
    ]
    last = report.numbers
    assert last["grad_norm"] == last["grad_norm/llm"] == pytest.approx(12.0)
    assert last["lr"] == last["lr/llm"] == pytest.approx(0.7)  # that of the step itself
    assert last["ratio"] == 16.0  # drawn in two of three steps, a sum over two micro-batches
    assert last["visual_tokens_a_sample"] == pytest.approx(4 * (5 + 6 + 7) / 6)
    assert last["accuracy"] == pytest.approx(4 / 7)
    assert report.metric("loss") == last["loss"]
    assert report.with_heldout({"val/loss": 0.5}).metric("val/loss") == 0.5
    assert report.metric("val/loss") is None


def test_a_resumed_run_goes_on_with_the_steps_that_the_next_row_counts(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    first, trainer = meter(tmp_path / "a", 3), Trainer()
    for number in range(1, 6):
        trainer.global_step = number
        first.measure(step(number), trainer)  # ty: ignore[invalid-argument-type]
    again = meter(tmp_path / "a", 3)
    again.load_state_dict(first.state_dict())
    trainer.global_step, trainer.world_size = 6, 2
    report = again.measure(step(6), trainer)  # ty: ignore[invalid-argument-type]
    assert (report.numbers["total/samples"], report.numbers["total/frames"]) == (12, 21)
    assert report.numbers["total/seconds"] == again.seconds > first.seconds
    devices = 3600 * report.numbers["total/device_hours"]
    assert devices == pytest.approx(first.seconds + 2 * (again.seconds - first.seconds))
    assert losses(tmp_path / "a")[-1] == (6, pytest.approx(weighed(4, 6)))
    assert (again.samples, again.frames) == (12, 21)


def test_speeds_are_by_the_time_of_all_steps() -> None:
    slow = MeasuredStep(1.0, 1, 1.0, {}, {}, 100, 0, 10, 1, 4.0, 1.0, None)
    fast = MeasuredStep(1.0, 1, 1.0, {}, {}, 300, 0, 30, 1, 1.0, 0.0, None)
    found = means([slow, fast])
    assert (found["tokens_per_s"], found["frames_per_s"], found["data_wait"]) == (80.0, 8.0, 0.2)


def test_a_step_without_supervised_tokens_is_no_division_by_zero() -> None:
    nothing = MeasuredStep(0.0, 0, 0.0, {}, {}, 100, 0, 10, 1, 4.0, 1.0, None)
    assert means([nothing])["loss"] == 0.0
