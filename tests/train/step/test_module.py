"""An optimizer step against one written out with PyTorch alone: loss, gradient clipping, update, ranks."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tests.train import quick_training as fake
from vxl.llm.packed import Frozen
from vxl.train.step import module as step_module
from vxl.train.step.module import VideoLanguageModule
from vxl.train.step.optimizer import OptimConfig
from vxl.train.step.stage import PARTS, StageConfig
from vxl.train.step.train_step import TrainStep, over_all_ranks

STEPS = 10
RATE = OptimConfig(lr=0.01, warmup=0.0, schedule="constant", clip=0.5)
MEAN = ("loss", "grad_norm")


@dataclass
class Trainer:
    """What a step asks of Lightning's trainer."""

    global_step: int = 0
    world_size: int = 1
    global_rank: int = 0
    strategy: Any = None


@dataclass
class Optimizer:
    """Lightning's wrapper, which counts steps."""

    optimizer: torch.optim.Optimizer
    before: list[Any] = field(default_factory=list)

    def step(self) -> None:
        self.optimizer.step()

    def zero_grad(self, set_to_none: bool) -> None:
        self.optimizer.zero_grad(set_to_none=set_to_none)


class Alone(VideoLanguageModule):
    """The module without Lightning's loop; keeps the gradient of a step."""

    def __init__(self, optim: OptimConfig, ranks: int = 1, frozen: Frozen = "same") -> None:
        torch.manual_seed(0)
        model = fake.Model(dropout=0.0).double()
        super().__init__(model, StageConfig(), optim, STEPS, 0, frozen)
        self.lent = Optimizer(self.configure_optimizers())
        self.stub = Trainer(world_size=ranks)

    @property
    def trainer(self) -> Any:
        return self.stub

    @property
    def global_rank(self) -> int:
        return self.stub.global_rank

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        return self.lent

    def manual_backward(self, loss: torch.Tensor, *arguments: Any, **keywords: Any) -> None:
        loss.backward()

    def _clip(self, optimizer: torch.optim.Optimizer) -> tuple[float, dict[str, float]]:
        self.raw = gradients(self.model)
        found = super()._clip(optimizer)
        self.clipped = gradients(self.model)
        return found


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def batches(count: int = 3) -> list[Any]:
    """Micro-batches of 4, 3 and 5 rows, with 10, 6 and 13 supervised tokens."""
    made = [fake.batch(0, 0, 4), fake.batch(0, 4, 3), fake.batch(0, 7, 5)][:count]
    assert len({batch.supervised / len(batch.keys) for batch in made}) == count
    return made


def reference(optim: OptimConfig, steps: list[list[Any]]) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    """The same steps written out: the mean over all supervised tokens, clip_grad_norm_, AdamW."""
    torch.manual_seed(0)
    model = fake.Model(dropout=0.0).double()
    adam = torch.optim.AdamW(model.parameters(), lr=optim.lr, weight_decay=0.0)
    seen = []
    for rows in steps:
        outputs = [model(batch) for batch in rows]
        loss = sum(output.loss_sum for output in outputs) / sum(output.supervised for output in outputs)
        adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip or float("inf"))
        adam.step()
        seen.append({"loss": float(loss.detach()), "grad_norm": float(norm)})
    return model, seen


@pytest.mark.parametrize("clip", [0.0, 0.05, 100.0])
def test_steps_are_those_that_pytorch_makes_of_the_global_batch(clip: float) -> None:
    optim = (
        copy.copy(RATE)
        if clip == RATE.clip
        else OptimConfig(lr=0.01, warmup=0.0, schedule="constant", clip=clip)
    )
    module, made = Alone(optim), [batches(), batches(2), batches()]
    seen = []
    for number, rows in enumerate(made):
        module.stub.global_step = number
        seen.append(module.training_step(rows, number)["step"])
    model, expected = reference(optim, made)
    for step, numbers in zip(seen, expected, strict=True):
        for name in MEAN:
            assert getattr(step, name) == pytest.approx(numbers[name], rel=1e-9)
    for name, parameter in module.model.named_parameters():
        # clip_grad_norm_ divides by the norm + 1e-6
        torch.testing.assert_close(parameter, model.get_parameter(name), rtol=1e-6, atol=1e-8)


def test_the_norm_is_that_of_all_parts_together_and_all_are_scaled_down_to_it() -> None:
    module = Alone(RATE)
    step = module.training_step(batches(), 0)["step"]
    whole = torch.stack([g.norm() for g in module.raw.values()]).norm()
    assert whole > 2 * RATE.clip
    assert max(step.part_norms.values()) < 0.99 * step.grad_norm  # no part is as good as the whole
    assert step.grad_norm == pytest.approx(float(whole))
    for name, gradient in module.raw.items():
        torch.testing.assert_close(module.clipped[name], gradient * (RATE.clip / float(whole)))


@pytest.mark.parametrize("step", [0, 1, 5, 9])
def test_a_step_is_taken_at_its_own_rate(step: int) -> None:
    optim = OptimConfig(lr=0.01, warmup=0.2)
    module = Alone(optim)
    module.stub.global_step = step
    seen = module.training_step(batches(), 0)["step"]
    rate = 0.01 * ((step + 1) / 3 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 7)))
    assert seen.rates == pytest.approx(dict.fromkeys(PARTS, rate))
    assert [group["lr"] for group in module.lent.optimizer.param_groups] == pytest.approx([rate] * len(PARTS))


def test_a_small_gradient_is_left_alone() -> None:
    module = Alone(OptimConfig(lr=0.01, clip=1e6))
    module.training_step(batches(), 0)
    assert all(torch.equal(module.clipped[name], gradient) for name, gradient in module.raw.items())


def test_the_mean_of_all_ranks_gradients_is_the_gradient_of_the_global_batch(monkeypatch) -> None:
    """Rank 0 has two of the micro-batches, rank 1 the other; strategies average over ranks."""
    shares = [batches()[:2], batches()[2:]]
    alone = Alone(RATE)
    alone.training_step(batches(), 0)
    counts = [sum(batch.supervised for batch in rows) for rows in shares]

    def of_all_ranks(value: Any) -> list[Any]:
        return counts if isinstance(value, int) else [value]

    monkeypatch.setattr(step_module, "gathered", of_all_ranks)
    found = []
    for rank, rows in enumerate(shares):
        module = Alone(RATE, ranks=2)
        module.stub.global_rank = rank
        module.training_step(rows, 0)
        found.append(module.raw)
    for name, gradient in alone.raw.items():
        torch.testing.assert_close((found[0][name] + found[1][name]) / 2, gradient, rtol=1e-9, atol=1e-12)


def test_a_step_that_is_not_finite_moves_nothing(tmp_path) -> None:
    module = Alone(RATE)
    module.stub.default_root_dir = str(tmp_path / "missing" / "\0")  # what it met can't be kept there
    before = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
    rows = batches()
    rows[1].frames_FCHW.data = rows[1].frames_FCHW.double() * float("nan")
    with pytest.raises((step_module.DivergedError, ValueError)):
        module.training_step(rows, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.model.state_dict().items())


def test_what_ranks_saw_is_added_up_and_what_they_drew_is_averaged() -> None:
    one = TrainStep(
        loss=1.0, samples=2, tokens=10, pairs=20, supervised=3, answers=[True], drawn={"ratio": 4}
    )
    other = TrainStep(
        loss=2.5, samples=1, tokens=5, pairs=9, supervised=1, answers=[False], drawn={"ratio": 8}
    )
    whole = over_all_ranks([one, other])
    assert (whole.loss, whole.samples, whole.tokens, whole.pairs, whole.supervised) == (3.5, 3, 15, 29, 4)
    assert (whole.answers, whole.drawn) == ([True, False], {"ratio": 6.0})


def test_pairs_are_those_within_a_document() -> None:
    module = Alone(RATE)
    rows = [fake.batch(0, 0, 2)]
    rows[0].layout.document_BT[:] = torch.tensor([0, 0, 0, 1, 1, -1])
    assert module.training_step(rows, 0)["step"].pairs == 2 * (3 * 4 // 2 + 2 * 3 // 2)


def test_randomness_is_by_seed_step_and_micro_batch() -> None:
    """So that a resumed step, and the rows of another rank, draw what they would have drawn."""
    module = Alone(RATE)
    drawn: dict[tuple[int, int], float] = {}
    forward = module.model.forward

    def noted(batch: Any) -> Any:
        drawn[module.stub.global_step, len(drawn)] = float(torch.rand(()))
        return forward(batch)

    module.model.forward = noted
    for step in (0, 1):
        module.stub.global_step = step
        module.training_step(batches(2), 0)
    assert len(set(drawn.values())) == 4
    again = Alone(RATE)
    again.model.forward, again.seed = noted, 1
    again.training_step(batches(2), 0)
    assert len(set(drawn.values())) == 6


def test_what_is_frozen_is_in_evaluation_mode() -> None:
    """Its dropout and statistics stay as they were trained."""
    model = fake.Model(dropout=0.5)
    VideoLanguageModule(model, StageConfig(train=["llm"]), RATE, STEPS, 0)
    modes = {name: part.training for name, part in model.named_children() if name in PARTS}
    assert modes == {name: name == "llm" for name in modes}
    assert len(modes) > 1
