"""SmolLM2 in a GGUF file -> a folder as transformers writes it, tokenizer included.

Read with the `gguf` package (the extra `small`): transformers reads GGUF too, but through more packages, with
a tokenizer that cuts digits otherwise than the original's, and into models that can't be saved again.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from vxl.data.batch.prompt import PAD
from vxl.errors import CheckpointError

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast

# What a tensor of GGUF's `llama` is called in transformers.
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
SPECIAL = 3
"""Type of a special token in GGUF."""


def convert_language_model(file: Path, folder: Path) -> None:
    """Writes config.json, model.safetensors (float32, as the quantised numbers stand for) and the tokenizer.

    Args:
        file: A GGUF file of the architecture `llama` with tied embeddings and a byte-level BPE tokenizer.
        folder: Where to; it exists.

    Raises:
        CheckpointError: The file holds another architecture or other tensors.
    """
    import gguf  # late: gguf, an optional package
    from transformers import LlamaForCausalLM

    reader = gguf.GGUFReader(file)
    if (architecture := _field(reader, "general.architecture")) != "llama":
        raise CheckpointError(f"{file} holds the architecture {architecture}.\n  expected: llama")
    config = _config(reader)
    tensors = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        name = transformers_name(tensor.name)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = halves_from_pairs(values, config.head_dim)
        tensors[name] = values
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    expected = {name: value.shape for name, value in model.state_dict().items() if name != "lm_head.weight"}
    if expected != {name: value.shape for name, value in tensors.items()}:
        odd = sorted(expected.keys() ^ tensors.keys()) or ["shapes"]
        raise CheckpointError(f"{file} does not fit its own sizes: {', '.join(odd[:4])}")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})  # the output layer is tied
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    _tokenizer(reader).save_pretrained(folder)


def transformers_name(name: str) -> str:
    """The name in transformers of a tensor in GGUF; unknown parts stay, and are refused on loading."""
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(\w+)", name)
    if block is not None:
        number, part, kind = block.groups()
        return f"model.layers.{number}.{_NAMES.get(part, part)}.{kind}"
    part, _, kind = name.partition(".")
    return f"{_NAMES.get(part, part)}.{kind}"


def halves_from_pairs(weight: Tensor, head_width: int) -> Tensor:
    """Rows of a query or key projection in transformers' order.

    GGUF rotates neighbouring channels of a head (0 with 1, 2 with 3, …), transformers a channel of the first
    half with one of the second.
    """
    pairs = weight.unflatten(0, (-1, head_width // 2, 2))
    return pairs.transpose(1, 2).flatten(0, 2).contiguous()


def _config(reader: Any) -> Any:
    from transformers import LlamaConfig  # late: transformers takes a second

    width, heads = (_field(reader, f"llama.{key}") for key in ("embedding_length", "attention.head_count"))
    theta = _field(reader, "llama.rope.freq_base")
    return LlamaConfig(
        vocab_size=len(_field(reader, "tokenizer.ggml.tokens")),
        hidden_size=width,
        intermediate_size=_field(reader, "llama.feed_forward_length"),
        num_hidden_layers=_field(reader, "llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=_field(reader, "llama.attention.head_count_kv"),
        head_dim=_field(reader, "llama.rope.dimension_count"),
        max_position_embeddings=_field(reader, "llama.context_length"),
        # Stored as float32: 1e-5 would come back as 9.9999997e-06.
        rms_norm_eps=float(f"{_field(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=True,
        bos_token_id=_field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, "tokenizer.ggml.padding_token_id"),
    )


def _tokenizer(reader: Any) -> "PreTrainedTokenizerFast":
    """SmolLM2's tokenizer: byte-level BPE, one piece a digit."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast

    names: list[str] = _field(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = _field(reader, "tokenizer.ggml.token_type")
    merges: list[tuple[str, str]] = []
    for merge in _field(reader, "tokenizer.ggml.merges"):
        first, _, second = merge.partition(" ")
        merges.append((first, second))
    bpe = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    specials = [name for name, kind in zip(names, kinds, strict=True) if kind == SPECIAL]
    bpe.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=names[_field(reader, "tokenizer.ggml.bos_token_id")],
        eos_token=names[_field(reader, "tokenizer.ggml.eos_token_id")],
        unk_token=PAD,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=_field(reader, "llama.context_length"),
    )
    tokenizer.chat_template = _field(reader, "tokenizer.chat_template")
    return tokenizer


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise CheckpointError(f"the GGUF file has no {key}.\n  expected: SmolLM2-135M-Instruct")
    return field.contents()
