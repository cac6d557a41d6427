"""Muon against its formula written out and against PyTorch's own; which weights it moves, at which rate."""

import math

import pytest
import torch

from tests.train import quick_training as fake
from tests.train.step.test_module import Alone, batches
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.train.sizes import outlined_learner
from vxl.train.step.muon import Muon, MuonConfig, orthogonalised
from vxl.train.step.optimizer import OptimConfig, build_optimizer, rules_of, set_rates
from vxl.train.step.stage import PARTS, PartRates, StageConfig, freeze

SHAPES = [(6, 4), (4, 6), (5, 5), (1, 7), (7, 1)]
A, B, C = 3.4445, -4.7750, 2.0315


def moved(steps: int, config: MuonConfig, shape: tuple[int, int], rate: float) -> list[torch.Tensor]:
    """A matrix before and after each of so many steps; gradients are those of `gradient`."""
    weight_MN = torch.nn.Parameter(gradient(shape, 99))
    optimizer = Muon(config, [{"params": [weight_MN], "lr": rate, "rule": "muon"}])
    seen = [weight_MN.detach().clone()]
    for step in range(steps):
        weight_MN.grad = gradient(shape, step)
        optimizer.step()
        seen.append(weight_MN.detach().clone())
    return seen


def gradient(shape: tuple[int, int], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_the_formula_s(shape: tuple[int, int]) -> None:
    """Exact arithmetic in the place of bf16's, which keeps 8 bits through 15 products."""
    config = MuonConfig(momentum=0.9, weight_decay=0.1)
    weight_MN, *after = moved(3, config, shape, 0.01)
    expected_MN, mean_MN = weight_MN.double(), torch.zeros(shape, dtype=torch.float64)
    for step in range(3):
        gradient_MN = gradient(shape, step).double()
        mean_MN = 0.9 * mean_MN + 0.1 * gradient_MN
        left_MK, singular_K, right_KN = torch.linalg.svd(
            0.9 * mean_MN + 0.1 * gradient_MN, full_matrices=False
        )
        singular_K = singular_K / singular_K.square().sum().sqrt()
        for _ in range(5):
            singular_K = A * singular_K + B * singular_K**3 + C * singular_K**5
        update_MN = left_MK * singular_K @ right_KN
        expected_MN = expected_MN * (1 - 0.01 * 0.1) - 0.01 * 0.2 * math.sqrt(max(shape)) * update_MN
        moved_by = 0.01 * 0.2 * math.sqrt(max(shape))
        torch.testing.assert_close(
            after[step].double(), expected_MN, rtol=0, atol=0.05 * moved_by * (step + 1)
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_pytorch_s_bit_for_bit(shape: tuple[int, int]) -> None:
    ours = moved(4, MuonConfig(weight_decay=0.1), shape, 0.02)
    weight_MN = torch.nn.Parameter(ours[0].clone())
    optimizer = torch.optim.Muon([weight_MN], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step, expected_MN in enumerate(ours[1:]):
        weight_MN.grad = gradient(shape, step)
        optimizer.step()
        assert torch.equal(weight_MN, expected_MN)


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (40, 40)])
def test_an_update_has_singular_values_of_about_one_and_the_size_of_adamw_s(shape: tuple[int, int]) -> None:
    singular_K = torch.linalg.svdvals(orthogonalised(gradient(shape, 0), 5).double())
    assert 0.3 < singular_K.min() < singular_K.max() < 1.3
    before_MN, after_MN = moved(1, MuonConfig(), shape, 0.01)
    rms = float((after_MN - before_MN).square().mean().sqrt()) / 0.01
    assert rms == pytest.approx(0.2, rel=0.25)


def test_a_matrix_that_has_no_gradient_yet_stays() -> None:
    """LoRA's first factor at the first step: the second is zero."""
    assert not orthogonalised(torch.zeros(4, 3), 5).any()


@pytest.mark.parametrize(
    ("words", "muon", "adamw"),
    [
        (
            ["model=videoxl"],
            {
                "vision.encoder.layers.0.mlp.fc1.weight",
                "compressor.projector.0.weight",
                "llm.causal_lm.model.layers.0.self_attn.q_proj.weight",
                "llm.causal_lm.model.layers.0.self_attn.q_proj.beacon.weight",
                "llm.causal_lm.model.layers.0.mlp.down_proj.weight",
            },
            {
                "vision.embeddings.patch_embedding.weight",
                "vision.embeddings.position_embedding.weight",
                "vision.encoder.layers.0.mlp.fc1.bias",
                "llm.beacon",
                "llm.causal_lm.model.embed_tokens.weight",
                "llm.causal_lm.lm_head.weight",
                "llm.causal_lm.model.norm.weight",
            },
        ),
        (
            ["model=videoxl_pro", "stage=lora", "stage.train=[compressor,projector,selector,llm]"],
            {
                "selector.attention.q_proj.weight",
                "llm.causal_lm.model.layers.0.self_attn.q_proj.lora_A",
                "llm.causal_lm.model.layers.0.self_attn.q_proj.lora_B",
            },
            {
                "compressor.dts.temporal_encoding",
                "compressor.dts.encoder.0.q.weight",
                "compressor.dts.encoder.1.relative_position_k.embeddings_table",
                "compressor.dts.encoder.2.conv.weight",
            },
        ),
    ],
)
def test_hidden_matrices_are_muon_s_and_all_else_is_adamw_s(
    words: list[str], muon: set[str], adamw: set[str]
) -> None:
    config = compose("train", ["size=tiny", "optim=muon", *words])
    model = outlined_learner(config)
    rules = rules_of(model, config.optim)
    assert {rules[name] for name in muon} == {"muon"}
    assert {rules[name] for name in adamw} == {"adamw"}
    assert rules.keys() >= dict(model.named_parameters()).keys()


OPTIM = OptimConfig(
    optimizer=MuonConfig(weight_decay=0.1), lr=0.01, warmup=0.0, schedule="constant", clip=0.05
)


def test_training_steps_are_those_of_pytorch_s_two_optimizers() -> None:
    """In float64, clipped, with weight decay; parts are clipped together, and each has one norm."""
    module, made = Alone(OPTIM), [batches(), batches(2), batches()]
    model = fake.Model(dropout=0.0).double()
    model.load_state_dict(module.model.state_dict())
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith("llm.")]
    hidden.append(model.get_parameter("llm.never_used.weight"))
    others = [p for p in model.parameters() if all(p is not other for other in hidden)]
    muon = torch.optim.Muon(hidden, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others, lr=0.01, weight_decay=0.1)
    for number, rows in enumerate(made):
        module.stub.global_step = number
        seen = module.training_step(rows, number)["step"]
        outputs = [model(batch) for batch in rows]
        loss = sum(output.loss_sum for output in outputs) / sum(output.supervised for output in outputs)
        model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        muon.step()
        adamw.step()
        assert seen.grad_norm == pytest.approx(float(norm), rel=1e-9)
        assert seen.rates == dict.fromkeys(PARTS, 0.01)
        assert set(seen.part_norms) == set(PARTS)
        assert math.hypot(*seen.part_norms.values()) == pytest.approx(seen.grad_norm)
    for name, parameter in module.model.named_parameters():
        # clip_grad_norm_ divides by the norm + 1e-6
        torch.testing.assert_close(parameter, model.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_both_rules_follow_one_schedule_and_a_part_s_own_rate() -> None:
    model, stage = fake.Model(), StageConfig(part_lr=PartRates(llm=0.001))
    freeze(model, stage)
    optimizer = build_optimizer(model, stage, OPTIM)
    set_rates(optimizer, 9, 10, OptimConfig(schedule="linear", warmup=0.0, final=0.5))
    rates = {(group["part"], group["rule"]): group["lr"] for group in optimizer.param_groups}
    assert rates == {
        (part, rule): 0.0005 if part == "llm" else 0.005 for part in PARTS for rule in ("muon", "adamw")
    }


def test_what_learns_may_be_of_one_rule_alone() -> None:
    model = torch.nn.ModuleDict({"vision": torch.nn.Linear(3, 2, bias=False), "llm": torch.nn.LayerNorm(3)})
    for part in ("vision", "llm"):
        stage = StageConfig(train=[part])
        freeze(model, stage)
        optimizer = build_optimizer(model, stage, OPTIM)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
        optimizer.step()
        moved_names = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert moved_names == {name for name in before if name.startswith(part)}


@pytest.mark.parametrize(
    "values",
    [{"momentum": 1.0}, {"iterations": 0}, {"weight_decay": -0.1}, {"betas": [0.9]}, {"eps": -1.0}],
)
def test_impossible_values(values: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        MuonConfig(**values)
