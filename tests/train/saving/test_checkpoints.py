"""Which scores go into a checkpoint and come back: `best` is chosen among checkpoints that are there."""

from pathlib import Path
from typing import Any, cast

import pytest

from vxl.train.report.meter import StepReport
from vxl.train.saving.checkpoints import Checkpoints
from vxl.train.saving.retention import RetentionConfig


class Trainer:
    """What the end of a step asks of Lightning's trainer."""

    max_steps = 9


class Report:
    """A step with its validation loss."""

    def __init__(self, step: int, loss: float) -> None:
        self.step, self.loss = step, loss

    def metric(self, name: str) -> float:
        return self.loss


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Checkpoints, list[dict[int, float]]]:
    checkpoints = Checkpoints(tmp_path, RetentionConfig(every=2))
    written: list[dict[int, float]] = []
    monkeypatch.setattr(checkpoints, "save", lambda trainer: written.append(dict(checkpoints.scores)))
    return checkpoints, written


def after(checkpoints: Checkpoints, *losses: float, stop: bool = False) -> None:
    for step, loss in enumerate(losses, start=1):
        checkpoints.after_step(cast(Any, Trainer()), cast(StepReport, Report(step, loss)), stop)


def test_a_step_without_a_checkpoint_leaves_no_score(saved) -> None:
    checkpoints, written = saved
    after(checkpoints, 0.1, 0.4, 0.2, 0.3)
    assert written == [{2: 0.4}, {2: 0.4, 4: 0.3}]
    assert checkpoints.scores == {2: 0.4, 4: 0.3}


def test_scores_come_back_with_the_run(saved, tmp_path: Path) -> None:
    checkpoints, _ = saved
    after(checkpoints, 0.1, 0.4)
    resumed = Checkpoints(tmp_path, RetentionConfig(every=2))
    resumed.load_state_dict(checkpoints.state_dict())
    assert resumed.scores == {2: 0.4}
