"""The config of an exported model."""

from typing import Any

from transformers import PreTrainedConfig


class VxlConfig(PreTrainedConfig):
    """A video model: its parts' settings, and the sizes of its language model as transformers calls them.

    Args:
        parts: The settings of each part, as in a run's resolved.yaml.
        longest: Tokens of the longest sequence that it was trained for; None for any length.
        **kwargs: Others of transformers.
    """

    model_type = "vxl"

    def __init__(
        self, parts: dict[str, Any] | None = None, longest: int | None = None, **kwargs: Any
    ) -> None:
        self.parts = parts or {}
        self.longest = longest
        llm = self.parts.get("llm") or {}
        sizes: dict[str, Any] = {
            "vocab_size": llm.get("vocab"),
            "hidden_size": llm.get("width"),
            "num_hidden_layers": llm.get("layers"),
            "num_attention_heads": llm.get("heads"),
            "num_key_value_heads": llm.get("kv_heads"),
            "max_position_embeddings": llm.get("max_positions"),
            "tie_word_embeddings": bool(llm.get("tied")),
        }
        super().__init__(**(sizes | kwargs))
