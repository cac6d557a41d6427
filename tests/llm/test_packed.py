"""Weights in 4 and 8 bits beside LoRA's updates: what is computed, kept, saved and read back."""

import sys

import pytest

pytest.importorskip("bitsandbytes")
import torch
from torch import nn

from tests.small_model import example, model, settings, video
from vxl.config.compose import compose
from vxl.data.batch.collate import collate
from vxl.errors import ConfigError
from vxl.llm.lora import LoRAConfig, LoRALinear, is_update
from vxl.llm.packed import (
    BLOCK,
    PACKINGS,
    PackedLinear,
    pack_adapted,
    pack_weight,
    unpack_weight,
)
from vxl.train.parallel.checkpoint_folders import weights
from vxl.train.report.throughput import flops_of
from vxl.train.sizes import parameters_of
from vxl.train.step.stage import StageConfig, cast_frozen, freeze, train_mode
from vxl.weights.coded import coded, hold_again

STAGE = StageConfig(train=["projector", "llm"])
BITS = {"int8": 8, "nf4": 4}


def layer(kind: str | None = None, dropout: float = 0.0) -> LoRALinear:
    torch.manual_seed(0)
    made = LoRALinear(nn.Linear(80, 48), LoRAConfig(rank=3, dropout=dropout))
    nn.init.normal_(made.lora_B, std=0.1)
    made.weight.requires_grad_(False)
    assert made.bias is not None
    made.bias.requires_grad_(False)
    return made if kind is None else PackedLinear(made, kind)  # ty: ignore[invalid-argument-type]


def adapted(frozen: str):
    torch.manual_seed(0)
    built = model(llm=settings().llm.__class__(vocab=97, width=64, mlp=64, layers=2, lora=LoRAConfig(rank=2)))
    freeze(built, STAGE)
    cast_frozen(built, frozen)  # ty: ignore[invalid-argument-type]
    train_mode(built, STAGE)
    return built


def loss(built) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return built(collate([[example(video(2))]], pad=0)).loss_sum


@pytest.mark.parametrize(("kind", "off"), [("int8", 0.01), ("nf4", 0.12)])
def test_a_packed_weight_is_near_and_small(kind: str, off: float) -> None:
    plain, held = layer(), layer(kind)
    assert isinstance(held, PackedLinear)
    assert held.weight.dtype is torch.bfloat16
    assert (held.weight.float() - plain.weight).norm() < off * plain.weight.norm()
    assert not torch.equal(held.weight.float(), plain.weight)
    assert held.codes.nbytes * 8 == BITS[kind] * plain.weight.numel()
    assert {name for name, _ in held.named_parameters()} == {"bias", "lora_A", "lora_B"}


@pytest.mark.parametrize("width", [32, 64, 80, 96, 128])
def test_nf4_takes_the_range_of_each_64_weights_whatever_the_width(width: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(48, width)
    codes, ranges = pack_weight(weight, "nf4")
    whole = unpack_weight(codes, ranges, "nf4", (48, width)).float()
    torch.testing.assert_close(whole.view(-1, BLOCK).abs().amax(1), ranges, rtol=0, atol=0)
    assert (whole - weight).norm() < 0.12 * weight.norm()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("kind", PACKINGS)
def test_it_computes_with_its_weight_forward_and_backward(kind: str, dropout: float) -> None:
    held, plain = layer(kind, dropout), layer(dropout=dropout)
    plain.weight.data.copy_(held.weight)
    given = torch.randn(5, 7, 80)
    found = []
    for one in (held, plain):
        x = given.clone().requires_grad_()
        torch.manual_seed(1)
        out = one(x)
        out.square().sum().backward()
        found.append([out, x.grad, one.lora_A.grad, one.lora_B.grad])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_whole_weight_is_kept_for_the_backward_pass() -> None:
    sizes: list[int] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t)
    with hooks:
        layer("nf4")(torch.randn(2, 80).requires_grad_())
    assert 48 * 80 not in sizes
    with hooks:
        layer()(torch.randn(2, 80).requires_grad_())
    assert 48 * 80 in sizes


@pytest.mark.parametrize("kind", PACKINGS)
def test_packing_an_unpacked_weight_again_gives_the_same_bits(kind: str) -> None:
    held = layer(kind)
    assert isinstance(held, PackedLinear)
    before = held.codes.clone(), held.ranges.clone(), held.weight.clone()
    held.hold(torch.zeros(48, 80))
    assert not held.weight.any()
    held.hold(before[2])
    assert torch.equal(held.codes, before[0])
    assert torch.equal(held.ranges, before[1])
    assert torch.equal(held.weight, before[2])


@pytest.mark.parametrize("kind", PACKINGS)
def test_a_checkpoint_has_the_names_of_any_other_and_is_read_back(kind: str) -> None:
    first, whole = adapted(kind), adapted("bf16")
    saved = {name: tensor.clone() for name, tensor in weights(first).items()}
    assert saved.keys() == weights(whole).keys()
    layers = dict(coded(first))
    assert len(layers) == 2 * 7
    name, held = next(iter(layers.items()))
    assert torch.equal(saved[f"{name}.weight"], held.weight)
    second = adapted(kind)
    for _, other in coded(second):
        other.hold(torch.zeros(other.out_features, other.in_features))
    into = weights(second)
    for key, tensor in into.items():
        tensor.copy_(saved[key])
    hold_again(second, into)
    assert torch.equal(loss(second), loss(first))
    read = {key: tensor.to(whole.state_dict()[key].dtype) for key, tensor in saved.items()}
    whole.load_state_dict(read)
    torch.testing.assert_close(loss(whole), loss(first))


def test_only_updates_and_the_projector_learn_and_all_weights_count() -> None:
    held, whole = adapted("nf4"), adapted("bf16")
    loss(held).backward()
    learned = {name for name, p in held.named_parameters() if p.grad is not None}
    assert all(is_update(name) or name.startswith("compressor.projector.") for name in learned)
    assert any(is_update(name) for name in learned)
    assert parameters_of(held) == parameters_of(whole)
    assert flops_of(held, 1.0).token == flops_of(whole, 1.0).token
    assert held.llm.causal_lm.get_input_embeddings().weight.dtype is torch.bfloat16


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(ConfigError, match=r"need bitsandbytes: .*\n  type  pip install 'vxl\[quantised\]'"):
        pack_adapted(nn.Sequential(layer()), "nf4")


def test_what_does_not_go_together_is_refused() -> None:
    assert compose("train", ["stage=lora", "trainer.frozen=nf4"]).trainer.frozen == "nf4"
    with pytest.raises(ConfigError, match=r"trainer\.frozen=int8 packs weights beside LoRA's updates"):
        compose("train", ["trainer.frozen=int8"])
    with pytest.raises(ConfigError, match="does not go with strategy=fsdp2, which shards whole weights"):
        compose("train", ["stage=lora", "trainer.frozen=nf4", "strategy=fsdp2", "trainer.devices=2"])
