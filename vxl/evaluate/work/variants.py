"""A loaded model with other parts and the same weights: members of a sweep share what they can."""

import copy
from collections.abc import Sequence
from dataclasses import replace

from vxl.checkpoint.resolved import model_parts, with_changes
from vxl.evaluate.fingerprint import digest
from vxl.generate.context import Context
from vxl.generate.loaded import LoadedModel
from vxl.kv.policy import held_as
from vxl.model import VideoLanguageModel
from vxl.option.build import build
from vxl.option.rebuild import plain
from vxl.prefill.summarizing import around
from vxl.prune.base import refuse_with_selector


def variant(loaded: LoadedModel, changes: Sequence[str]) -> LoadedModel:
    """The same weights with other parts around them.

    Args:
        loaded: The model as it was trained.
        changes: Of video, prune, prefill, kv, relevance and the selector's budgets, as `refuse_trained` let
            them.

    Raises:
        ConfigError: A change names nothing, or the parts don't fit each other.
    """
    if not changes:
        return loaded
    values = with_changes(loaded.values, changes)
    config = model_parts(values)
    model = loaded.model
    other: VideoLanguageModel = copy.copy(model)
    other._modules = dict(model._modules)
    if config.kv != loaded.config.kv:
        other.policy = build(config.kv)
        other.policy.equip(model.llm)  # kv=vst, which would give it parameters, is refused
    other.prefill = around(build(config.prefill), other.policy, config.seed)
    other.relevance = build(config.relevance)
    other.relevance.equip(model.vision)
    if config.selector != loaded.config.selector:
        selector = build(config.selector, llm_width=model.llm.width, seed=config.seed).to(model.device)
        if selector.drops and model.selector.drops:
            selector.load_state_dict(model.selector.state_dict())
        other.selector = selector.eval()
    other.pruner = build(config.prune)
    refuse_with_selector(other.pruner, other.selector.drops)
    return replace(loaded, model=other, config=config, values=values)


def with_system(loaded: LoadedModel, system: str | None) -> LoadedModel:
    """The same model with another system turn; None for its own."""
    if system is None or system == loaded.config.prompt.system:
        return loaded
    prompt = replace(loaded.config.prompt, system=system)
    return replace(loaded, config=replace(loaded.config, prompt=prompt))


def watch_key(loaded: LoadedModel) -> str:
    """What a watched context depends on: members of the same key can share one.

    A policy that acts at the question only is no part of it.
    """
    config, model = loaded.config, loaded.model
    parts = {
        "video": plain(config.video),
        "prune": plain(config.prune),
        "prefill": plain(config.prefill),
        "selector": plain(config.selector),
        "sees": model.relevance.sees,
        "relevance": plain(config.relevance) if model.selector.drops else None,
        "kv": (held_as(config.kv), config.kv.offload) if model.policy.keeps_all_watched else plain(config.kv),
    }
    return digest(parts)


def for_model(context: Context, loaded: LoadedModel) -> Context:
    """A context that another member of the same `watch_key` watched, to be asked by this one."""
    return (
        context if context.model is loaded.model else replace(context, model=loaded.model, most=loaded.most)
    )
