"""The published models of the family: how each names its tensors, and which options give its numbers.

A published name and ours differ by what stands in front, so a family's map is a list of prefixes; a star in
them is a block's number.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from vxl.errors import CheckpointError
from vxl.llm.beacon import PROJECTIONS

TOWER = "model.vision_tower.vision_tower.vision_model."
HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published model."""

    name: str
    """What vxl calls it: a choice of conf/model."""
    title: str
    repository: str
    """Where its weights are published."""
    names: tuple[tuple[str, str], ...]
    """(their prefix, ours), a star for a block's number: the first that fits counts; both ways."""
    unused: tuple[str, ...]
    """Patterns of the tensors that the published files may have and no part uses."""
    options: Mapping[str, str]
    """By group, the option in conf/ whose settings count where the weights say nothing."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What published weights need and the options do not say: {"prompt": {...}}."""
    needed: Mapping[str, Any] = field(default_factory=dict)
    """Settings without which the published code would not compute a model's numbers, by key."""

    def ours(self, theirs: str) -> str | None:
        """Our name of a published tensor; None if it is not used.

        Raises:
            KeyError: The family has no such tensor.
        """
        if any(re.fullmatch(pattern, theirs) for pattern in self.unused):
            return None
        for prefix, ours in self.names:
            if (name := renamed(theirs, prefix, ours)) is not None:
                return name
        raise KeyError(theirs)

    def theirs(self, ours: str) -> str:
        """The published name of a tensor of ours.

        Raises:
            CheckpointError: The family has no such tensor.
        """
        for prefix, own in self.names:
            if (name := renamed(ours, own, prefix)) is not None:
                return name
        raise CheckpointError(f"{self.title} has no tensor {ours!r}.\n  vxl's own layout:  --layout vxl")


def renamed(name: str, prefix: str, other: str) -> str | None:
    """A name with another prefix, the number that a star stood for in its place; None if it has another."""
    match = _pattern(prefix).match(name)
    if match is None:
        return None
    return (other.replace("*", match[1]) if match.groups() else other) + name[match.end() :]


@cache
def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\*", r"(\d+)"))


LANGUAGE_MODEL = (
    ("model.embed_tokens.", "llm.causal_lm.model.embed_tokens."),
    ("model.layers.", "llm.causal_lm.model.layers."),
    ("model.norm.", "llm.causal_lm.model.norm."),
    ("lm_head.", "llm.causal_lm.lm_head."),
)
# In front of the language model's own names, which begin alike.
BEACONS = (
    ("model.beacon_embed_tokens.weight", "llm.beacon"),
    *(
        (f"model.layers.*.{path}.beacon_{layer}.", f"llm.causal_lm.model.layers.*.{path}.{layer}.beacon.")
        for path, _, layer in (name.rpartition(".") for names in PROJECTIONS.values() for name in names)
    ),
)
VISUAL = (
    (TOWER, "vision."),
    ("model.mm_projector.", "compressor.projector."),
    ("model.sae.", "compressor.dts."),
)
SELECTOR = (
    ("model.text_mlp.0.", "selector.text."),
    ("model.WindowTimeToTokenAttention.", "selector.attention."),
)
# The tower's last norm, and buffers that older releases of transformers wrote.
UNUSED = (
    re.escape(TOWER) + r"post_layernorm\.(weight|bias)",
    re.escape(TOWER) + r"embeddings\.position_ids",
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
)

# What most of the family has, by group.
PARTS: dict[str, str] = {
    "video": "uniform",
    "vision": "siglip_so400m",
    "compressor": "dts_published",
    "selector": "none",
    "prefill": "full",
    "kv": "full",
    "relevance": "attention",
}
TILES: dict[str, Any] = {"side": 6, "published_no_base": True}
WINDOWS: dict[str, Any] = {"published_partial": True, "published_draw": True}
DTS: dict[str, Any] = {
    "vision._target_": "vxl.vision.siglip.Siglip",
    "compressor._target_": "vxl.compressor.dts.DTS",
    "compressor.published_layout": True,
    "compressor.published_relative_key": True,
    "compressor.grid": 24,
    "compressor.pool": "mean",
    "compressor.ratio": 16,
    "llm.model_type": "qwen2",
}
VST: dict[str, Any] = {"kv._target_": "vxl.kv.vst.VST", "kv.published_partial": True}
DRAWS = {"window": "step-random", "sample": "instance-random", "sequence": "sequence", "adapt": "adapt-1024"}
"""The published words for how a ratio is drawn: {kv.draw: config.json's beacon_ratio_mix}."""

VIDEO_XL_2 = Family(
    name="videoxl2",
    title="Video-XL-2",
    repository="BAAI/Video-XL-2",
    names=VISUAL + LANGUAGE_MODEL,
    unused=(*UNUSED, r"model\.text_mlp\.0\.(weight|bias)"),  # in an older code, and without a use there too
    options={**PARTS, "video": "fps", "llm": "qwen2_5_7b"},
    settings={
        "prompt": {
            "published_two_newlines": True,
            "published_supervised_special": True,
            "published_time_rewrite": True,
            "images": TILES,
        }
    },
    needed=DTS,
)
VIDEO_XL_PRO = Family(
    name="videoxl_pro",
    title="Video-XL-Pro (April)",
    repository="MINT-SJTU/Video-XL-Pro-3B",
    names=VISUAL + SELECTOR + LANGUAGE_MODEL,
    unused=UNUSED,
    options={**PARTS, "selector": "query", "llm": "qwen2_5_3b"},
    settings={
        "prompt": {
            "time_text": "Time {seconds:06.1f}s:",
            "published_image_time": True,
            "images": TILES,
        },
        "selector": {
            "published_query": True,
            "published_multiple": True,
            "keep": None,
            "published_random_keep": True,
        },
    },
    needed=DTS | {"selector.score": "time"},
)
VIDEO_XL_PRO_MARCH = Family(
    name="videoxl_pro_march",
    title="Video-XL-Pro (March)",
    repository="MINT-SJTU/Video-XL-Pro-3B",
    names=VISUAL + SELECTOR + BEACONS + LANGUAGE_MODEL,
    unused=UNUSED,
    options={**VIDEO_XL_PRO.options, "selector": "query_march", "kv": "vst"},
    settings={
        "prompt": {"time_text": None, "images": TILES},
        "selector": {"published_query": True, "published_multiple": True},
        "kv": WINDOWS,
    },
    needed=DTS | VST | {"selector.score": "token"},
)
VIDEO_XL = Family(
    name="videoxl",
    title="Video-XL",
    repository="sy1998/Video_XL",
    names=VISUAL + BEACONS + LANGUAGE_MODEL,
    unused=UNUSED,
    options={**PARTS, "vision": "clip_l_336", "compressor": "pool", "llm": "qwen2_7b", "kv": "vst"},
    settings={
        "prompt": {
            "time_text": None,
            "published_two_newlines": True,
            "published_supervised_special": True,
            "images": {"side": 49, "most": 49, "single": False, "published_no_base": True},
        },
        "kv": WINDOWS,
    },
    needed=VST
    | {
        "vision._target_": "vxl.vision.clip.ClipTower",
        "compressor._target_": "vxl.compressor.pool.Pool",
        "compressor.pool": "mean",
        "compressor.ratio": 4,
        "llm.model_type": "qwen2",
    },
)
FAMILIES = {family.name: family for family in (VIDEO_XL, VIDEO_XL_PRO_MARCH, VIDEO_XL_PRO, VIDEO_XL_2)}

WRAPPED = (
    *("module.module.", "module.", "_orig_mod.", "_fsdp_wrapped_module."),
    *("base_model.model.", "model.language_model."),
)
"""Prefixes that wrappers put in front of all names: DataParallel, torch.compile, peft, FSDP."""


def detect(names: Collection[str], where: str) -> Family:
    """The family of a checkpoint, by the tensors that are there.

    Args:
        names: Published names.
        where: What to call the checkpoint in messages.

    Raises:
        CheckpointError: It is none that is known.
    """
    has_beacon = any("beacon_" in name for name in names)
    has_dts = any(name.startswith("model.sae.") for name in names)
    has_llm = TABLE in names or any(name.startswith("model.layers.") for name in names)
    if has_beacon and has_llm:
        return VIDEO_XL_PRO_MARCH if has_dts else VIDEO_XL
    if has_dts and has_llm:
        is_april = any(name.startswith("model.WindowTimeToTokenAttention.") for name in names)
        return VIDEO_XL_PRO if is_april else VIDEO_XL_2
    raise CheckpointError(_unknown(names, where))


def _unknown(names: Collection[str], where: str) -> str:
    heads = sorted({".".join(name.split(".")[:2]) for name in names})
    first_names = ", ".join(heads[:8]) + (", …" if len(heads) > 8 else "")
    prefix = next((p for p in WRAPPED if names and all(name.startswith(p) for name in names)), None)
    if prefix is not None:
        renamed = f"{{name.removeprefix({prefix!r}): t for name, t in load_file(FILE).items()}}"
        merge = (
            "\n  an adapter of peft:  merge it first, model.merge_and_unload()" if "base" in prefix else ""
        )
        return (
            f"{where}: the names of all {len(names)} tensors begin with {prefix!r}, a wrapper's.\n"
            "  take it off:  from safetensors.torch import load_file, save_file\n"
            f"    save_file({renamed}, FILE){merge}"
        )
    models = "\n".join(f"    {family.title}: {family.repository}" for family in FAMILIES.values())
    return (
        f"{where} holds {len(names)} tensors of no model that vxl knows.\n"
        f"  they begin with: {first_names}\n"
        f"  expected: model.sae.* or beacon_*, model.mm_projector.*, {TOWER}*, model.layers.* of\n{models}\n"
        "  a language model or a tower alone:  llm.weights=PATH   vision.weights=PATH\n"
        "  dts.pth or a projector alone:       vxl import FILE OUT --part compressor|projector"
    )
