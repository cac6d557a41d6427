"""Parameters counted from sizes alone, or told in outline, are those of the model that is built."""

import pytest
import torch
from torch import nn

from vxl.llm.config import DecoderConfig, count_parameters
from vxl.llm.decoder import Decoder
from vxl.llm.lora import LoRAConfig
from vxl.llm.outline import Outline, outline


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


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rank", [0, 2])
def test_an_outline_has_the_decoders_parameters(model_type: str, tied: bool, rank: int) -> None:
    """Each by name and shape, with LoRA's updates and the beacons of kv=vst."""
    lora = LoRAConfig(rank=rank, layers=["q_proj", "down_proj"])
    config = DecoderConfig(model_type=model_type, tied=tied, layers=2, head_width=16, lora=lora)
    with torch.device("meta"):
        built, told = Decoder(config), outline(config)
        assert isinstance(told, Outline)
        assert shapes(told) == shapes(built)
        for model in (built, told):
            model.add_beacons(["q", "k", "mlp"])
    assert shapes(told) == shapes(built)
    assert (told.width, told.layers) == (built.width, built.layers)


def test_what_has_no_outline_is_built() -> None:
    with torch.device("meta"):
        assert isinstance(outline(DecoderConfig(model_type="mistral")), Decoder)


def test_an_outline_of_pretrained_weights_has_their_sizes(tmp_path) -> None:
    config = DecoderConfig(vocab=97, width=48, mlp=80, layers=3, tied=True)
    Decoder(config).causal_lm.save_pretrained(tmp_path)
    with torch.device("meta"):
        assert shapes(outline(DecoderConfig(weights=str(tmp_path)))) == shapes(Decoder(config))
