"""Which way a decoder's layers are run."""

import copy

import torch

from tests.llm.tiny import decoder
from vxl.llm import fused
from vxl.llm.lora import LoRAConfig


def test_what_learns_is_not_run_as_at_inference(monkeypatch) -> None:
    monkeypatch.setattr(fused, "usable", lambda tensor: True)
    llm = decoder(lora=LoRAConfig(rank=2)).requires_grad_(False)
    body, embeds = llm.causal_lm.model, torch.zeros(1, 3, 48)
    assert fused.suits_body(body, embeds)
    body.layers[1].mlp.up_proj.lora_A.requires_grad_(True)  # though the embeddings need no gradient
    assert not fused.suits_body(body, embeds)
    with torch.no_grad():
        assert fused.suits_body(body, embeds)


def test_layers_keep_their_names_and_can_be_copied() -> None:
    body = decoder().causal_lm.model
    layer = body.layers[0]
    assert isinstance(layer, fused.Fused)
    assert type(layer).__name__ == type(layer).__mro__[2].__name__ == "Qwen2DecoderLayer"
    other = copy.deepcopy(layer)
    assert type(other) is type(layer)
    assert other.mlp is not layer.mlp


def test_layers_that_are_not_known_are_left_alone() -> None:
    body = decoder().causal_lm.model
    body.config.hidden_act = "gelu"
    assert not fused.known(body)
