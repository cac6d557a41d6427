"""Validation: a mean over supervised tokens, by a model in evaluation mode, which then trains as before."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tests.train import quick_training as fake
from vxl.logger.prediction import Prediction
from vxl.train.report.validation import HeldOutScores, Validation, validate
from vxl.train.step.module import VideoLanguageModule
from vxl.train.step.optimizer import OptimConfig
from vxl.train.step.stage import StageConfig


class Plugin:
    def val_step_context(self) -> Any:
        return nullcontext()


@dataclass
class Trainer:
    """What validation asks of Lightning's trainer."""

    precision_plugin: Plugin = field(default_factory=Plugin)
    world_size: int = 1
    strategy: Any = None


def module(train: list[Any]) -> VideoLanguageModule:
    torch.manual_seed(0)
    return VideoLanguageModule(fake.Model(dropout=0.5), StageConfig(train=train), OptimConfig(), 10, 0)


def rows() -> list[Any]:
    """Unequal numbers of rows, supervised tokens a row, and options a question."""
    made = [fake.batch(0, 0, 2), fake.batch(0, 2, 7), fake.batch(0, 9, 1)]
    assert [batch.supervised for batch in made] == [3, 18, 2]
    made[1].letters_Q[:] = [fake.LETTERS[:4]] * 3 + [fake.LETTERS[:2]] * 4
    made[1].answer_Q[:] = [answer % 2 for answer in made[1].answer_Q]
    return made


def test_the_loss_is_the_mean_over_supervised_tokens_without_dropout() -> None:
    trained = module(["llm"])
    found = validate(Trainer(), trained, rows())  # ty: ignore[invalid-argument-type]
    model = trained.model.eval()
    with torch.no_grad():
        outputs = [model(batch) for batch in rows()]
    loss = sum(float(output.loss_sum) for output in outputs) / (3 + 18 + 2)
    assert found.loss == pytest.approx(loss, rel=1e-6)
    right = 0
    for output, batch in zip(outputs, rows(), strict=True):
        for scores_V, letters, answer in zip(output.logits_QV, batch.letters_Q, batch.answer_Q, strict=True):
            right += int(scores_V[letters].argmax()) == answer
    assert (found.right, found.questions) == (right, 10)
    assert found.chance == pytest.approx((6 * 1 / 4 + 4 * 1 / 2) / 10)


def test_afterwards_what_learns_trains_and_what_is_frozen_does_not() -> None:
    trained = module(["llm"])
    before = {name: part.training for name, part in trained.model.named_modules()}
    assert before["llm.drop"]
    assert not before["vision.1"]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    validate(Trainer(), trained, rows())  # ty: ignore[invalid-argument-type]
    assert {name: part.training for name, part in trained.model.named_modules()} == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_when_it_is_due() -> None:
    def due(every: int) -> list[int]:
        return [step for step in range(1, 11) if Validation(None, every).is_due(step, 10)]  # ty: ignore

    assert due(4) == [4, 8, 10]
    assert due(0) == [10]


def test_metrics_have_an_interval_only_where_there_were_questions() -> None:
    assert HeldOutScores(0.5, 0, 0, 0.0).metrics() == {"val/loss": 0.5}
    assert HeldOutScores(0.5, 0, 0, 0.0, baseline=0.7).metrics() == {"val/loss": 0.5, "val/baseline": 0.7}
    asked = HeldOutScores(0.5, 3, 4, 0.25).metrics()
    assert asked["val/accuracy"] == 0.75
    assert asked["val/accuracy_low"] < 0.75 < asked["val/accuracy_high"]


def test_the_questions_that_are_shown_are_spread_over_all_batches() -> None:
    shown: list[Prediction] = []
    batches = [fake.batch(0, 4 * number, 4) for number in range(4)]
    validate(Trainer(), module(["llm"]), batches, shown, 6)  # ty: ignore[invalid-argument-type]
    all_keys = [batch.keys_Q for batch in batches]
    of_batch = [sum(shown_one.key in keys for shown_one in shown) for keys in all_keys]
    assert of_batch == [2, 1, 2, 1]
    assert len({shown_one.key for shown_one in shown}) == 6
