import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.llm.tiny import FAMILIES, decoder, fed, plain, reference, tokens
from vxl.errors import CheckpointError, ConfigError
from vxl.llm.decoder import Decoder, DecoderConfig


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_activations_give_the_same_gradients(family: str) -> None:
    llm = decoder(family).train()
    document = torch.tensor([[0] * 12 + [1] * 7 + [-1]], dtype=torch.int32)

    def gradients() -> list[torch.Tensor]:
        llm.zero_grad()
        plain(llm, tokens(1, 20), document_BT=document)[:, :19].pow(2).mean().backward()
        return [parameter.grad.clone() for parameter in llm.parameters() if parameter.grad is not None]

    expected = gradients()
    llm.checkpoint_activations(True)
    calls: list[int] = []
    hook = llm.causal_lm.model.layers[1].self_attn.register_forward_pre_hook(lambda *_: calls.append(1))
    got = gradients()
    hook.remove()
    assert len(calls) == 2  # once more in the backward pass
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    llm.checkpoint_activations(False)
    assert not llm.causal_lm.is_gradient_checkpointing


@pytest.mark.parametrize(
    ("share", "again"), [(0.0, []), (0.34, [0]), (0.7, [0, 1]), (1.0, [0, 1, 2]), ("auto", [0, 1, 2])]
)
def test_a_share_of_the_blocks_is_recomputed_the_first_ones(share: Any, again: list[int]) -> None:
    def gradients(calls: list[int], **settings: Any) -> list[torch.Tensor | None]:
        llm = decoder(**settings).train()
        for number, layer in enumerate(llm.causal_lm.model.layers):
            layer.mlp.register_forward_pre_hook(lambda *_, number=number: calls.append(number))
        plain(llm, tokens(1, 20)).pow(2).mean().backward()
        return [parameter.grad for parameter in llm.parameters()]

    once: list[int] = []
    twice: list[int] = []
    expected = gradients(once)
    got = gradients(twice, checkpointing=True, recomputed=share)
    assert once == [0, 1, 2]
    assert sorted(twice[3:]) == again
    for a, b in zip(got, expected, strict=True):
        assert a is not None
        assert b is not None
        assert torch.equal(a, b)


def test_checkpointed_activations_with_a_cache_give_the_same_gradients() -> None:
    llm = decoder().train()

    def gradients() -> list[torch.Tensor]:
        llm.zero_grad()
        cache = llm.new_cache()
        first = fed(llm, cache, tokens(1, 20))
        second = fed(llm, cache, tokens(1, 30, seed=1))  # back through the keys of the first pass
        (first.pow(2).mean() + second.pow(2).mean()).backward()
        return [parameter.grad.clone() for parameter in llm.parameters() if parameter.grad is not None]

    expected = gradients()
    llm.checkpoint_activations(True)
    assert all(torch.equal(a, b) for a, b in zip(gradients(), expected, strict=True))


def test_a_cache_carries_gradients_like_one_pass() -> None:
    llm = decoder().double()
    ids = tokens(1, 50)
    grads = []
    for cuts in ((0, 50), (0, 20, 45, 50)):
        llm.zero_grad()
        cache = llm.new_cache()
        parts = [fed(llm, cache, ids[:, a:b]) for a, b in pairwise(cuts)]
        torch.cat(parts, 1).pow(2).mean().backward()
        grads.append(llm.causal_lm.model.layers[0].self_attn.k_proj.weight.grad.clone())
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-9, atol=1e-12)


def test_true_size_has_the_published_parameters() -> None:
    sizes = {"vocab": 152064, "width": 3584, "mlp": 18944, "layers": 28, "heads": 28, "kv_heads": 4}
    with torch.device("meta"):
        llm = Decoder(DecoderConfig(**sizes))
    assert sum(parameter.numel() for parameter in llm.parameters()) == 7_615_616_512


@torch.no_grad()
def test_a_model_from_the_meta_device_gets_its_buffers_back() -> None:
    llm = decoder()
    with torch.device("meta"):
        other = Decoder(llm.config).eval()
    other.to_empty(device="cpu")
    for buffer in other.buffers():
        buffer.fill_(float("nan"))
    other.reset_buffers()
    other.load_state_dict(llm.state_dict())
    assert torch.equal(plain(other, tokens(1, 20)), plain(llm, tokens(1, 20)))


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_folder_brings_sizes_and_weights(tied: bool, tmp_path: Path) -> None:
    source = decoder("qwen3", layers=2, tied=tied)
    reference(source).save_pretrained(tmp_path)
    llm = Decoder(DecoderConfig(weights=str(tmp_path))).eval()
    assert (llm.width, llm.layers, llm.vocab) == (48, 2, 97)
    llm.load_pretrained()
    assert torch.equal(plain(llm, tokens(1, 20)), plain(source, tokens(1, 20)))


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


def pickle_that_executes(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Harm()}, folder / "pytorch_model.bin")


def cut_file(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 80}))


@pytest.mark.parametrize("damage", [pickle_that_executes, cut_file, other_shape])
def test_a_damaged_checkpoint_is_refused(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights"
    reference(decoder("qwen2", layers=1)).save_pretrained(folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=r"llm.weights=.* can't be read: (.|\n)*llm.weights=random"):
        Decoder(DecoderConfig(weights=str(folder))).load_pretrained()
    assert not (tmp_path / "harmed").exists()


def test_an_absent_checkpoint_says_what_may_be_typed() -> None:
    with pytest.raises(CheckpointError, match=r"llm.weights=nobody/nothing can't be read") as error:
        Decoder(DecoderConfig(weights="nobody/nothing"))
    assert "llm.weights=random" in str(error.value)


COUNTED = (
    "vocab",
    "width",
    "mlp",
    "layers",
    "heads",
    "head_width",
    "rope_theta",
    "max_positions",
    "loss_chunk",
)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"recomputed": 1.5}, "recomputed=1.5 is no share of the blocks.\n  expected: 0 to 1, or auto"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads=3 does not divide heads=4.\n  allowed: 1, 2, 4"),
        ({"heads": 5, "kv_heads": 1}, "heads=5 does not divide width=48"),
        *[({name: 0}, f"{name}=0 is too small.\n  expected: 1 or more") for name in COUNTED],
        ({"norm_eps": -1e-6}, "norm_eps=-1e-06 is too small.\n  expected: 0 or more"),
        ({"model_type": "nothing"}, "llm.model_type=nothing is no architecture"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        decoder(**settings)


def test_a_larger_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="100 tokens, the language model 97 embeddings"):
        Decoder(decoder().config, vocab_size=100)
