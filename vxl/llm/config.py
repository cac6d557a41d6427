"""The settings of a language model, and the transformers config that they mean."""

import textwrap
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vxl.errors import CheckpointError, ConfigError
from vxl.llm.lora import LoRAConfig
from vxl.option.option import Option, option, refuse_below
from vxl.weights.fetched import refuse_unfetched
from vxl.weights.fp8 import Fp8


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(Option):
    """A decoder of transformers: a checkpoint, or an architecture and its sizes."""

    _target_: str = "vxl.llm.decoder.Decoder"
    weights: str = "random"
    """`random`, for the sizes below; or a transformers checkpoint (a hub name or the path of a folder),
    whose own architecture and sizes then count instead."""
    model_type: str = "qwen2"
    """Architecture, as transformers names it: qwen2, qwen3, llama, ..."""
    vocab: int = 1024
    """Rows of the embedding table; a tokenizer may have fewer."""
    width: int = 128
    """Width of a token's hidden state (D)."""
    mlp: int = 384
    """Inner width of each block's MLP."""
    layers: int = 4
    """Blocks."""
    heads: int = 4
    """Query heads of each block."""
    kv_heads: int = 2
    """Key and value heads, shared by groups of query heads."""
    head_width: int | None = None
    """Width of a head; null = width / heads."""
    rope_theta: float = 1e6
    """Base of the rotary positions."""
    norm_eps: float = 1e-6
    """Epsilon of the RMS norms."""
    tied: bool = False
    """Whether the output layer shares the embedding table."""
    init_std: float = 0.02
    """Standard deviation of random weights; narrow models learn sooner from larger ones."""
    max_positions: int = 32768
    """Tokens of the longest sequence that the model was trained for."""
    extrapolate: bool = False
    """Answer about longer sequences, too, at positions that the model was not trained for: Video-XL-2's
    10,000 frames, say. Otherwise they are refused. In training `data.max_tokens` is the limit."""
    attention: Literal["sdpa", "flex", "varlen", "flash"] = "sdpa"
    """The attention backend, whose kernel computes attention: PyTorch's own (sdpa), its flex_attention
    (flex), its kernel for packed sequences (varlen, CUDA), or the flash-attn package (flash)."""
    checkpointing: bool = False
    """Recompute blocks in the backward pass: slower, far less memory for activations."""
    recomputed: float | Literal["auto"] = option(1.0, resumable=True)
    """Share of the blocks that checkpointing recomputes, the first ones; the rest keep their activations.
    `auto`: as few as fit into the memory that is free when training starts."""
    loss_chunk: int = 2048
    """Supervised tokens whose scores over the vocabulary exist at once; more of them are scored in chunks."""
    fp8: Fp8 = option(False, later=True)  # noqa: RUF009 -- a field, not a value
    """Linear layers of the blocks in float8, weights and what enters them: true, on a GPU that multiplies in
    it (compute capability 8.9); emulated, the same numbers without its speed, anywhere. LoRA's updates are
    added into the weights first. Not for training."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    """Low-rank updates that learn in the place of the language model's own weights (stage=lora)."""

    def __post_init__(self) -> None:
        refuse_below(1, self, "vocab", "width", "mlp", "layers", "heads", "head_width", "rope_theta")
        refuse_below(1, self, "max_positions", "loss_chunk")
        refuse_below(0, self, "norm_eps", "init_std")
        if self.recomputed == "auto" and not self.checkpointing:
            raise ConfigError(
                "recomputed=auto decides how many blocks checkpointing recomputes, and checkpointing=false "
                "recomputes none.\n  e.g.  llm.checkpointing=true llm.recomputed=auto"
            )
        if self.recomputed != "auto" and not 0 <= self.recomputed <= 1:
            raise ConfigError(
                f"recomputed={self.recomputed} is no share of the blocks.\n  expected: 0 to 1, or auto"
            )
        if self.kv_heads < 1 or self.heads % self.kv_heads:
            divisors = ", ".join(str(n) for n in range(1, self.heads + 1) if self.heads % n == 0)
            raise ConfigError(
                f"kv_heads={self.kv_heads} does not divide heads={self.heads}.\n  allowed: {divisors}"
            )
        if self.head_width is None and self.width % self.heads:
            raise ConfigError(
                f"heads={self.heads} does not divide width={self.width}.\n"
                f"  type  width={-(-self.width // self.heads) * self.heads}  or name  head_width"
            )

    @property
    def head_size(self) -> int:
        """Width of a head (H)."""
        return self.head_width or self.width // self.heads

    @property
    def recomputed_share(self) -> float:
        """Of the blocks; all of them where `auto` has not been decided, as outside of training."""
        return 1.0 if self.recomputed == "auto" else self.recomputed


def hugging_face_config(config: DecoderConfig) -> Any:
    """The transformers config of a decoder: the checkpoint's, or one of the given sizes."""
    from transformers import AutoConfig  # late: transformers takes a second

    if config.weights != "random":
        refuse_unfetched(config.weights)
        try:
            return AutoConfig.from_pretrained(config.weights, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise unreadable_weights(config.weights, error) from error
    sizes: dict[str, Any] = {
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rms_norm_eps": config.norm_eps,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tied,
        "max_position_embeddings": config.max_positions,
        "head_dim": config.head_size,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    try:
        return AutoConfig.for_model(config.model_type, **sizes)
    except ValueError as error:
        raise ConfigError(
            f"llm.model_type={config.model_type} is no architecture of transformers.\n"
            "  allowed: qwen2, qwen3, llama and others like them\n  e.g.  llm.model_type=qwen2"
        ) from error


def unreadable_weights(weights: str, error: Exception) -> CheckpointError:
    """The error for a checkpoint of `llm.weights` that can't be read."""
    reason = " ".join(str(error).split()).partition(" Check your internet connection")[0]
    reason = textwrap.shorten(reason, 240, placeholder=" …")
    return CheckpointError(
        f"llm.weights={weights} can't be read: {reason}\n"
        "  allowed: a hub name (with network, or downloaded before), the path of a folder, or random\n"
        "  e.g.  llm.weights=Qwen/Qwen2.5-7B-Instruct   llm.weights=/models/qwen   llm.weights=random"
    )


def count_parameters(config: DecoderConfig) -> int:
    """Parameters of a decoder without LoRA and beacons, from its sizes alone: nothing is built.

    Exact for qwen2, qwen3 and llama; of other architectures without their biases and further norms. Of
    pretrained weights the checkpoint's own sizes count.
    """
    sizes = with_own_sizes(config)
    biases = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_size
    more = 2 * sizes.width + {"qwen2": biases, "qwen3": 2 * sizes.head_size}.get(sizes.model_type, 0)
    tables = (1 if sizes.tied else 2) * sizes.vocab * sizes.width
    return _of_linear_layers(sizes) + sizes.layers * more + sizes.width + tables


def count_coded(config: DecoderConfig) -> int:
    """Parameters of the blocks' linear layers, which `fp8` holds in a byte each; from the sizes alone."""
    return _of_linear_layers(with_own_sizes(config))


def _of_linear_layers(sizes: DecoderConfig) -> int:
    attention = 2 * (sizes.heads + sizes.kv_heads) * sizes.head_size
    return sizes.layers * sizes.width * (attention + 3 * sizes.mlp)


def with_own_sizes(config: DecoderConfig) -> DecoderConfig:
    """The settings with the sizes that count: of pretrained weights, the checkpoint's own."""
    return config if config.weights == "random" else sizes_of(config, hugging_face_config(config))


def sizes_of(config: DecoderConfig, architecture: Any) -> DecoderConfig:
    """The settings with the sizes of a transformers config in the place of their own."""
    return replace(
        config,
        model_type=architecture.model_type,
        vocab=architecture.vocab_size,
        width=architecture.hidden_size,
        mlp=architecture.intermediate_size,
        layers=architecture.num_hidden_layers,
        heads=architecture.num_attention_heads,
        kv_heads=architecture.num_key_value_heads,
        head_width=getattr(architecture, "head_dim", None),
        tied=architecture.tie_word_embeddings,
    )
