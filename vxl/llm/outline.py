"""A decoder in outline: the parameters that it has, by name and shape, without the code that runs them.

Building the decoder itself, even without memory, imports transformers' code for seconds; what it holds can be
said from its sizes. LoRA and beacons are put into the outline by the code that puts them into the decoder.
"""

from collections.abc import Sequence

import torch
from torch import nn

from vxl.llm.beacon import Letter, give_beacons
from vxl.llm.config import DecoderConfig, hugging_face_config, sizes_of
from vxl.llm.decoder import Decoder
from vxl.llm.lora import adapt

OUTLINED = ("qwen2", "qwen3", "llama")


class Outline(nn.Module):
    """Qwen2, Qwen3 or Llama, parameter by parameter; to be made on the meta device.

    Args:
        config: The settings, with the sizes that count.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config, self.width, self.layers = config, config.width, config.layers
        self.register_parameter("beacon", None)
        body = nn.Module()
        table = nn.Embedding(config.vocab, config.width)
        body.embed_tokens = table
        body.layers = nn.ModuleList(_block(config) for _ in range(config.layers))
        body.norm = nn.RMSNorm(config.width)
        self.causal_lm = nn.Module()
        self.causal_lm.model = body
        head = nn.Linear(config.width, config.vocab, bias=False)
        if config.tied:
            head.weight = table.weight
        self.causal_lm.lm_head = head
        adapt(body, config.lora)

    def add_beacons(self, letters: Sequence[Letter], token: int | None = None) -> None:
        """See `Decoder.add_beacons`."""
        self.beacon = nn.Parameter(torch.empty(1, self.width, device="meta"))
        give_beacons(self.causal_lm.model, letters)


def outline(config: DecoderConfig) -> Outline | Decoder:
    """The outline of a decoder; of an architecture that is not known here, the decoder itself."""
    if config.weights != "random":
        architecture = hugging_face_config(config)
        biased = any(getattr(architecture, name, False) for name in ("attention_bias", "mlp_bias"))
        has_outline = architecture.model_type in OUTLINED and not biased
        return Outline(sizes_of(config, architecture)) if has_outline else Decoder(config)
    return Outline(config) if config.model_type in OUTLINED else Decoder(config)


def _block(config: DecoderConfig) -> nn.Module:
    head = config.head_size
    queries, keys = config.heads * head, config.kv_heads * head
    biased = config.model_type == "qwen2"
    attention, mlp, block = nn.Module(), nn.Module(), nn.Module()
    attention.q_proj = nn.Linear(config.width, queries, bias=biased)
    attention.k_proj = nn.Linear(config.width, keys, bias=biased)
    attention.v_proj = nn.Linear(config.width, keys, bias=biased)
    attention.o_proj = nn.Linear(queries, config.width, bias=False)
    if config.model_type == "qwen3":
        attention.q_norm, attention.k_norm = nn.RMSNorm(head), nn.RMSNorm(head)
    mlp.gate_proj = nn.Linear(config.width, config.mlp, bias=False)
    mlp.up_proj = nn.Linear(config.width, config.mlp, bias=False)
    mlp.down_proj = nn.Linear(config.mlp, config.width, bias=False)
    block.self_attn, block.mlp = attention, mlp
    block.input_layernorm, block.post_attention_layernorm = nn.RMSNorm(config.width), nn.RMSNorm(config.width)
    return block
