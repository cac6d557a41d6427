from typing import Any

import pytest
import torch

from tests.llm.tiny import decoder, fed, tokens
from vxl.errors import ConfigError
from vxl.llm.attention.function import NAME
from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.llm.rope import Rotary, check_layout


def config_of(model_type: str = "llama", **settings: Any) -> Any:
    from transformers import AutoConfig

    sizes: dict[str, Any] = {
        "vocab_size": 97,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    return AutoConfig.for_model(model_type, **(sizes | settings))


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 1e4, **settings}


LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


@torch.no_grad()
@pytest.mark.parametrize(
    "parameters",
    [rope("default"), rope("linear", factor=2.0), rope("yarn", factor=4.0), rope("llama3", **LLAMA3)],
    ids=lambda parameters: parameters["rope_type"],
)
def test_static_kinds_are_transformers(parameters: dict[str, Any], tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config_of(rope_parameters=parameters)).eval()
    plain.save_pretrained(tmp_path)
    llm = Decoder(DecoderConfig(weights=str(tmp_path))).eval()
    llm.load_pretrained()
    ids, cache = tokens(1, 60), llm.new_cache()
    got = torch.cat([fed(llm, cache, ids[:, a:b]) for a, b in ((0, 40), (40, 59), (59, 60))], 1)
    torch.testing.assert_close(got, plain(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (config_of(rope_parameters=rope("dynamic", factor=2.0)), "'dynamic'"),
        (
            config_of(
                "phi3",
                rope_parameters=rope(
                    "longrope",
                    short_factor=[1.0] * 6,
                    long_factor=[2.0] * 6,
                    original_max_position_embeddings=32,
                ),
            ),
            "'longrope'",
        ),
        (config_of(rope_parameters=rope("default", partial_rotary_factor=0.5)), "only 0.5 of each head"),
        (config_of(rope_parameters=rope("default", mrope_section=[2, 2, 2])), "multimodal"),
        (config_of("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1), "sliding"),
        (config_of("gpt2", n_head=4, n_embd=48), "no rotary positions"),
    ],
    ids=["dynamic", "long", "partial", "multimodal", "window", "learned"],
)
def test_other_kinds_are_refused(config: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        Rotary(config)
    assert "allowed" in str(error.value)


def test_a_layout_of_its_own_is_refused() -> None:
    from transformers import AutoModelForCausalLM

    config = config_of("cohere")  # rotates neighbouring channels
    model = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    with pytest.raises(ConfigError, match="layout of its own"):
        check_layout(model, Rotary(config))


def test_turning_keys_depends_on_distances_only() -> None:
    rotary = decoder().rotary
    query, key = torch.randn(2, 1, 1, 1, 12, dtype=torch.float64)

    def score(i: int, j: int) -> torch.Tensor:
        return (rotary.turn(query, torch.tensor([[[i]]])) * rotary.turn(key, torch.tensor([[[j]]]))).sum()

    torch.testing.assert_close(score(9, 4), score(1005, 1000), rtol=1e-4, atol=1e-4)
    assert (score(9, 4) - score(9, 5)).abs() > 1e-3
