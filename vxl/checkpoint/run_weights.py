"""A run's checkpoint as weights: to be written as a folder that needs no run."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from vxl.checkpoint.layouts import CONFIG, is_published, is_vxl
from vxl.checkpoint.open_weights import open_weights
from vxl.checkpoint.published.read import written_out
from vxl.checkpoint.resolved import model_parts, read_config, refuse_part
from vxl.checkpoint.step_folder import StepFolder
from vxl.checkpoint.weights import Weights
from vxl.data.batch.tokenizer import tokenizer_in
from vxl.llm.decoder import hugging_face_config
from vxl.llm.lora import is_update, merged_weight, updated
from vxl.weights.stored import Stored


def open_run(run: Path, step: StepFolder) -> Weights:
    """The weights of one checkpoint of a run; LoRA's updates are added to the weights beside them.

    Args:
        run: The run's directory.
        step: Its checkpoint.

    Raises:
        CheckpointError: The checkpoint is not complete, or damaged.
    """
    tensors = step.model_tensors()
    values = read_config(run / CONFIG)
    refuse_part(values, run)
    head, table = "llm.causal_lm.lm_head.weight", "llm.causal_lm.model.embed_tokens.weight"
    config = self_contained(written_out(values))
    if config["llm"]["tied"] and table in tensors:
        tensors.pop(head, None)  # the same tensor, saved under both names
    tensors, config = _without_updates(tensors, config)
    weights = Weights(step.path, tensors, config, tokenizer_in(run))
    return _as_its_origin(weights, values.get("init_from") or values.get("weights"))


def self_contained(values: dict[str, Any]) -> dict[str, Any]:
    """The config with sizes in place of the checkpoints that a run took its tower and language model from.

    A rotation that has no keys in the config (Llama 3's, say) still needs the name.
    """
    values = values | {"vision": values["vision"] | {"weights": "random"}}
    if values["llm"]["weights"] == "random":
        return values
    hugging_face = hugging_face_config(model_parts(values).llm)
    if hugging_face.rope_parameters.get("rope_type", "default") != "default":
        return values
    sizes = {
        "weights": "random",
        "model_type": hugging_face.model_type,
        "vocab": hugging_face.vocab_size,
        "width": hugging_face.hidden_size,
        "mlp": hugging_face.intermediate_size,
        "layers": hugging_face.num_hidden_layers,
        "heads": hugging_face.num_attention_heads,
        "kv_heads": hugging_face.num_key_value_heads,
        "head_width": getattr(hugging_face, "head_dim", None),
        "rope_theta": float(hugging_face.rope_parameters["rope_theta"]),
        "norm_eps": hugging_face.rms_norm_eps,
        "tied": hugging_face.tie_word_embeddings,
        "max_positions": hugging_face.max_position_embeddings,
    }
    return values | {"llm": values["llm"] | sizes}


def _without_updates(
    tensors: dict[str, Stored], config: dict[str, Any]
) -> tuple[dict[str, Stored], dict[str, Any]]:
    """The same model without LoRA: every updated weight with its update added in."""
    lora = config["llm"].get("lora") or {}
    if not lora.get("rank"):
        return tensors, config
    scale = lora["alpha"] / lora["rank"]
    without_updates = {name: tensor for name, tensor in tensors.items() if not is_update(name)}
    for name in updated(tensors):
        layer, weight = name.removesuffix("weight"), tensors[name]
        parts = [weight, tensors[f"{layer}lora_A"], tensors[f"{layer}lora_B"]]
        without_updates[name] = replace(weight, read=partial(_merged, parts, scale))
    return without_updates, config | {"llm": config["llm"] | {"lora": {**lora, "rank": 0}}}


def _merged(parts: Sequence[Stored], scale: float) -> Tensor:
    return merged_weight(*(part.read() for part in parts), scale=scale)


def _as_its_origin(weights: Weights, origin: str | None) -> Weights:
    """With the published layout of the folder that the run started from, if it still is the same model."""
    if not origin or not (is_vxl(Path(origin)) or is_published(Path(origin))):
        return weights
    start = open_weights(Path(origin))
    same = start.tensors.keys() == weights.tensors.keys() and all(
        start.tensors[name].shape == tensor.shape for name, tensor in weights.tensors.items()
    )
    parts = [part for part in ("compressor", "selector") if part in start.values]
    switches = all(start.values[part] == weights.values[part] for part in parts)
    if start.record is None or not same or not switches:
        return weights
    return replace(weights, record=start.record, unused=start.unused, others=start.others)
