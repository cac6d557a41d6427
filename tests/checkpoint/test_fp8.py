"""A run loaded with its tower and its language model in float8."""

from pathlib import Path

import pytest
import torch

import vxl
from tests.llm.tiny import decoder
from tests.run_directories import CLIP, make_run
from vxl import memory
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.generate.saved import weights_fingerprint
from vxl.llm.attention.around import output_weights
from vxl.llm.lora import LoRAConfig
from vxl.llm.work import Work
from vxl.model import VideoLanguageModel
from vxl.parts import refuse_too_large
from vxl.weights.coded import coded
from vxl.weights.fp8 import Fp8Linear

IN_FP8 = ["vision.fp8=emulated", "llm.fp8=emulated"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"), "made", steps=(10,))


@torch.no_grad()
def features(model: VideoLanguageModel) -> torch.Tensor:
    made = torch.Generator().manual_seed(0)
    size = model.vision.pixels.size
    return model.vision(torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8, generator=made))


@torch.no_grad()
def logits(model: VideoLanguageModel) -> torch.Tensor:
    tokens = torch.randint(0, 200, (1, 9), generator=torch.Generator().manual_seed(0))
    llm = model.llm
    return llm.logits(llm(llm.embed(tokens), llm.step(torch.arange(9)[None])))


def off(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def test_its_numbers_are_near_and_its_answers_come(run: Path) -> None:
    plain, held = vxl.load(run, device="cpu"), vxl.load(run, device="cpu", overrides=IN_FP8)
    layers = dict(coded(held.model))
    assert len(layers) == 3 * 6 + 3 * 7  # of a block of the tower, and of the language model
    assert all(type(layer) is Fp8Linear for layer in layers.values())
    assert 0.001 < off(features(held.model), features(plain.model)) < 0.1
    assert 0.001 < off(logits(held.model), logits(plain.model)) < 0.2
    assert isinstance(held.ask(CLIP, "What is shown?", max_new_tokens=3).text, str)
    assert Work(held.model.llm).per_token == Work(plain.model.llm).per_token


def test_one_part_alone_leaves_the_other(run: Path) -> None:
    held = vxl.load(run, device="cpu", overrides=["vision.fp8=emulated"]).model
    assert {name.partition(".")[0] for name, _ in coded(held)} == {"vision"}
    assert torch.equal(logits(held), logits(vxl.load(run, device="cpu").model))


def test_policies_read_the_output_projection_through_its_codes(run: Path) -> None:
    held = vxl.load(run, device="cpu", overrides=["llm.fp8=emulated", "kv=criticalkv", "kv.of=visual"])
    causal_lm = held.model.llm.causal_lm
    read_MHD = output_weights(causal_lm, 0)
    weight_DM = causal_lm.model.layers[0].self_attn.o_proj.weight.float()
    torch.testing.assert_close(read_MHD.flatten(0, 1).t(), weight_DM, rtol=1e-6, atol=0)
    assert isinstance(held.ask(CLIP, "What is shown?", max_new_tokens=3).text, str)


def test_a_saved_context_knows_its_model_by_the_codes_too(run: Path) -> None:
    held = vxl.load(run, device="cpu", overrides=IN_FP8).model
    before = weights_fingerprint(held)
    layer = held.llm.blocks[0].mlp.up_proj
    layer.hold(2 * layer.weight)  # other scales alone
    assert weights_fingerprint(held) != before


def test_updates_are_added_in_before_the_weight_is_coded() -> None:
    llm = decoder(lora=LoRAConfig(rank=3), fp8="emulated", width=64).requires_grad_(False)
    layer = llm.blocks[0].mlp.up_proj
    layer.lora_B.normal_(std=0.2)
    whole = layer.weight + layer.scale * layer.lora_B @ layer.lora_A
    assert off(layer.weight, whole) > 0.3
    llm.to_fp8()
    assert type(layer) is Fp8Linear
    assert off(layer.weight.float(), whole) < 0.04
    assert not any("lora" in name for name, _ in llm.named_parameters())


def test_beacons_stay_as_they_are(tmp_path: Path) -> None:
    run = make_run(tmp_path, "beacons", "kv=vst", "data.packing=false", steps=(10,))
    held = vxl.load(run, device="cpu", overrides=["llm.fp8=emulated"])
    layers = dict(held.model.llm.named_modules())
    assert type(layers["causal_lm.model.layers.0.self_attn.q_proj"]) is Fp8Linear
    assert type(layers["causal_lm.model.layers.0.self_attn.q_proj.beacon"]).__name__ == "BeaconLinear"
    assert isinstance(held.ask(CLIP, "What is shown?", max_new_tokens=2).text, str)


def test_a_device_without_such_products_is_refused_before_anything_is_built(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"vision\.fp8=true needs a GPU that multiplies in float8"):
        vxl.load(run, device="cpu", overrides=["vision.fp8=true"])
    with pytest.raises(ConfigError, match=r"llm\.fp8=8 .*\n.*\n?  allowed: false, true, emulated"):
        vxl.load(run, device="cpu", overrides=["llm.fp8=8"])


def test_a_coded_weight_counts_as_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7,615,616,512 parameters of Qwen2.5-7B all but tables, norms and biases: 28 blocks of these."""
    block = 2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944
    needed = 2 * (7_615_616_512 - 28 * block) + 28 * block
    config = compose("train", ["model=videoxl2", "weights=random", "llm.fp8=true"])
    monkeypatch.setattr(memory, "free_memory", lambda device: needed)
    refuse_too_large(config, CPU, torch.bfloat16, fp8=True)
    with pytest.raises(ConfigError, match=r"parameters in bfloat16\) needs 14\.2 GiB"):
        refuse_too_large(config, CPU, torch.bfloat16)  # as it is built
    monkeypatch.setattr(memory, "free_memory", lambda device: needed - 1)
    with pytest.raises(
        ConfigError, match=rf"in bfloat16, {28 * block:,} of them in float8\) needs 8\.11 GiB"
    ):
        refuse_too_large(config, CPU, torch.bfloat16, fp8=True)
