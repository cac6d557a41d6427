"""LoRA: the base at first, its names unchanged, only updates learn, and merging changes no number."""

import pytest
import torch
from torch import nn

from tests import small_model as small
from tests.llm.tiny import without_updates
from vxl.errors import ConfigError
from vxl.kv.vst import VSTConfig
from vxl.llm.beacon import is_of_beacon
from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.llm.lora import LAYERS, LoRAConfig, LoRALinear, is_update, updated
from vxl.train.step.stage import StageConfig, freeze, part_of

SIZES = {"vocab": 97, "width": 48, "mlp": 64, "layers": 2}


def decoder(**lora):
    torch.manual_seed(0)
    return Decoder(DecoderConfig(**SIZES, lora=LoRAConfig(**lora))).double()


def hidden(llm):
    generator = torch.Generator().manual_seed(1)
    embeds_BTD = torch.randn(2, 7, 48, generator=generator, dtype=torch.float64)
    return llm(embeds_BTD, llm.step(torch.arange(7).expand(2, 7)))


def test_it_starts_as_its_base_with_the_base_names():
    plain, adapted = decoder(), decoder(rank=4)
    names = set(adapted.state_dict())
    assert set(plain.state_dict()) == {name for name in names if not is_update(name)}
    assert len(updated(dict.fromkeys(names))) == len(LAYERS) * 2
    adapted.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(hidden(adapted), hidden(plain))


def test_merging_changes_no_number():
    adapted = decoder(rank=4, alpha=3.0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if is_update(name):
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    plain = decoder()
    plain.load_state_dict(without_updates(adapted, 3.0 / 4))
    torch.testing.assert_close(hidden(plain), hidden(adapted), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(hidden(adapted), hidden(decoder()), atol=1e-3)


def test_only_updates_and_the_projector_learn():
    llm = DecoderConfig(**SIZES, lora=LoRAConfig(rank=2, layers=["q_proj", "v_proj"]))
    model = small.model(llm=llm)
    freeze(model, StageConfig(train=["projector", "llm"]))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {part_of(name) for name in learning} == {"projector", "llm"}
    assert {name.split(".")[-2] for name in learning if is_update(name)} == {"q_proj", "v_proj"}
    assert all(is_update(name) for name in learning if part_of(name) == "llm")
    freeze(model, StageConfig(train=["projector"]))
    assert not any(p.requires_grad for name, p in model.named_parameters() if part_of(name) == "llm")


@pytest.mark.parametrize("rank", [0, 2])
def test_beacons_learn_with_the_language_model_and_are_frozen_with_it(rank):
    model = small.model(llm=DecoderConfig(**SIZES, lora=LoRAConfig(rank=rank)), kv=VSTConfig())

    def learning() -> set[str]:
        return {name for name, p in model.named_parameters() if part_of(name) == "llm" and p.requires_grad}

    language = {name for name, _ in model.named_parameters() if part_of(name) == "llm"}
    beacons = {name for name in language if is_of_beacon(name)}
    assert "llm.beacon" in beacons
    assert len(beacons) > 1
    freeze(model, StageConfig(train=["projector"]))
    assert learning() == set()
    freeze(model, StageConfig(train=["projector", "llm"]))
    assert learning() == (beacons | {name for name in language if is_update(name)} if rank else language)


@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_those_of_the_formula(bias):
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(5, 7, bias=bias).double(), LoRAConfig(rank=2, alpha=3.0))
    nn.init.normal_(layer.lora_B)
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    update = 1.5 * (x @ layer.lora_A.T) @ layer.lora_B.T
    wanted = nn.functional.linear(x, layer.weight, layer.bias) + update
    over = [x, *layer.parameters()]
    direction = torch.randn_like(wanted)
    torch.testing.assert_close(layer(x), wanted)
    for got, right in zip(
        torch.autograd.grad(layer(x), over, direction),
        torch.autograd.grad(wanted, over, direction),
        strict=True,
    ):
        torch.testing.assert_close(got, right)


def test_under_autocast_updates_in_fp32_learn_beside_a_base_in_bf16():
    layer = LoRALinear(nn.Linear(5, 7), LoRAConfig(rank=2))
    layer.weight.requires_grad_(False).data = layer.weight.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(2, 3, 5))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer.lora_B.grad.dtype == torch.float32
    assert layer.weight.grad is None


def test_dropout_is_only_for_training():
    llm = decoder(rank=4, dropout=0.5)
    with torch.no_grad():
        for parameter in llm.parameters():
            parameter.add_(0.1)
    llm.train()
    assert not torch.equal(hidden(llm), hidden(llm))
    llm.eval()
    assert torch.equal(hidden(llm), hidden(llm))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"llm.lora.layers names qproj.*\n  allowed: down_proj, gate_proj"):
        decoder(rank=2, layers=["qproj"])
    with pytest.raises(ConfigError, match="rank=-1"):
        LoRAConfig(rank=-1)
    assert isinstance(decoder(rank=0).causal_lm.model.layers[0].self_attn.q_proj, nn.Linear)
