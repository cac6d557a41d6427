"""A model out of a folder of weights, without a run: vxl's own folders and published ones."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vxl.checkpoint.fill import fill, skeleton
from vxl.checkpoint.resolved import model_parts
from vxl.checkpoint.source import open_weights
from vxl.checkpoint.weights import Weights
from vxl.data.batch.tokenizer import load_tokenizer
from vxl.model import VideoLanguageModel
from vxl.option.rebuild import plain
from vxl.parts import ModelParts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)


def load_weights(
    path: Path,
    device: torch.device,
    overrides: Sequence[str] = (),
    dtype: torch.dtype | None = None,
) -> "tuple[VideoLanguageModel, PreTrainedTokenizerFast | None, ModelParts, dict[str, Any]]":
    """Model, tokenizer, settings and resolved config of a folder of weights.

    Args:
        path: vxl's own folder, or a published one.
        device: Where to make it.
        overrides: Changes to its config, and what a published folder leaves open.
        dtype: Precision; None for the file's on a GPU, and float32 on a CPU.

    Raises:
        CheckpointError: The weights are incomplete, not known, or don't fit.
        ConfigError: An override does not fit.
    """
    weights = open_weights(path, overrides)
    config = model_parts(weights.values)
    named = config.prompt.tokenizer or weights.tokenizer
    tokenizer = None if named is None else load_tokenizer(named)
    model = skeleton(config, vocab_size=None if tokenizer is None else len(tokenizer))
    fill(model, weights, device, dtype or precision(weights, device))
    return model.eval(), tokenizer, config, weights.values


def precision(weights: Weights, device: torch.device) -> torch.dtype:
    """On a GPU the file's; on a CPU float32, in which it computes."""
    return torch.float32 if device.type == "cpu" else weights.dtype


def fill_from(path: Path, model: VideoLanguageModel, **where: Any) -> None:
    """Fills a model that a config of its own describes with a folder's weights; all of them must fit.

    Says so where the config computes other numbers with these weights than they were trained for.

    Raises:
        CheckpointError: The weights are not the model's.
    """
    heads = {"vision.heads": getattr(model.vision.config, "heads", None)}
    heads["llm.heads"] = model.llm.causal_lm.config.num_attention_heads
    weights = open_weights(path, [f"{key}={count}" for key, count in heads.items() if count is not None])
    fill(model, weights, **where)
    for key, trained, now in differences(weights.values, model):
        log.warning("%s: these weights were trained with %s=%s, not %s", path, key, trained, now)


def differences(values: Mapping[str, Any], model: VideoLanguageModel) -> list[tuple[str, Any, Any]]:
    """(key, as the weights were trained, as the model has it) of the settings that shapes don't show."""
    found = []
    for group in ("vision", "compressor", "selector"):
        part, trained = getattr(model, group, None), values.get(group) or {}
        own = plain(getattr(part, "config", None)) or {}
        keys = ("_target_", "grid", "temporal", "pool", "heads", "score")
        found += [
            (f"{group}.{key}", trained[key], own[key])
            for key in trained.keys() & own.keys()
            if (key in keys or key.startswith("published_")) and trained[key] != own[key]
        ]
    return sorted(found)
