"""Parameters counted from sizes alone are those of the model that is built."""

import pytest
import torch

from vxl.llm.config import DecoderConfig, count_parameters
from vxl.llm.decoder import Decoder


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_count_is_exact(model_type: str, tied: bool) -> None:
    config = DecoderConfig(
        model_type=model_type,
        tied=tied,
        vocab=97,
        width=48,
        mlp=80,
        layers=3,
        heads=4,
        kv_heads=2,
        head_width=16,
    )
    with torch.device("meta"):
        model = Decoder(config)
    assert count_parameters(config) == sum(parameter.numel() for parameter in model.parameters())


def test_of_pretrained_weights_their_own_sizes_count(tmp_path) -> None:
    config = DecoderConfig(vocab=97, width=48, mlp=80, layers=3, tied=True)
    Decoder(config).causal_lm.save_pretrained(tmp_path)
    assert count_parameters(DecoderConfig(weights=str(tmp_path))) == count_parameters(config)
