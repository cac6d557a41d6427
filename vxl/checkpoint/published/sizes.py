"""The settings of a published model's parts: sizes from its tensors, the rest from config.json."""

import contextlib
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from vxl.checkpoint.published.family import DRAWS, TABLE, TOWER, Family
from vxl.checkpoint.published.folder import PublishedFolder
from vxl.errors import CheckpointError
from vxl.llm.beacon import PROJECTIONS
from vxl.option.files import CONF
from vxl.option.read_yaml import read_yaml
from vxl.weights.stored import Stored

BEACON = "model.beacon_embed_tokens.weight"

# Of towers of these widths the family uses so many heads and blocks (SigLIP so400m, CLIP-L).
HEADS = {1152: 16, 1024: 16}
BLOCKS = {1152: 26, 1024: 24}
# Query heads of Qwen2.5's sizes by width, for folders without config.json.
QWEN_HEADS = {896: 14, 1536: 12, 2048: 16, 3584: 28}


def published_settings(
    family: Family, folder: PublishedFolder, overrides: Mapping[str, Any], groups: Collection[str]
) -> dict[str, Any]:
    """The resolved config of a published model.

    Args:
        family: Whose it is.
        folder: What was published.
        overrides: Values that the user gave, by their keys (`vision.heads`); they win over config.json.
        groups: The parts that a model's config has.

    Raises:
        CheckpointError: A size can't be known, or config.json and the tensors say different things.
    """
    values: dict[str, Any] = {"model": family.name, "size": "published", "weights": "random", "seed": 0}
    for group, name in family.options.items():
        if group in groups:
            settings = read_yaml((CONF / group / f"{name}.yaml").read_text())
            values[group] = {key: value for key, value in settings.items() if key != "defaults"}
    sizes = Sizes(folder, overrides)
    values["vision"] |= vision(sizes, values["vision"])
    if sizes.blocks("model.sae.encoder."):
        values["compressor"] |= {"temporal": sizes.of("model.sae.temporal_encoding")[0]}
    values["llm"] |= language_model(sizes, values["llm"])
    if "kv" in groups and BEACON in folder.tensors:
        values["kv"] |= summaries(sizes)
    for group, changes in family.settings.items():
        values[group] = values.get(group, {}) | changes
    sizes.finish()
    return values


class Sizes:
    """Sizes of one folder, each checked against what config.json says."""

    def __init__(self, folder: PublishedFolder, overrides: Mapping[str, Any]) -> None:
        self.path, self.tensors, self.config = folder.path, folder.tensors, folder.config
        self.overrides = overrides
        described = folder.config.get("vision_config")
        self.vision_config: Mapping[str, Any] = described if isinstance(described, dict) else {}
        self.problems: list[str] = []

    def of(self, name: str, dims: int | None = None) -> tuple[int, ...]:
        """The shape of a tensor that has to be there."""
        tensor: Stored | None = self.tensors.get(name)
        if tensor is None and name.startswith(TOWER) and not any(n.startswith(TOWER) for n in self.tensors):
            comes_from = self.config.get("mm_vision_tower") or "the model that it was trained from"
            raise CheckpointError(
                f"{self.path} holds no vision tower: training that freezes the tower leaves it out.\n"
                f"  it comes from {comes_from}\n"
                f"  put its tensors into a file of this folder, named {TOWER}*, and list them in the index"
            )
        if tensor is None:
            raise CheckpointError(
                f"{self.path} lacks {name}, which says how large the model is.\n"
                f"  it holds {len(self.tensors)} tensors; copy or download it again"
            )
        if dims is not None and len(tensor.shape) != dims:
            raise CheckpointError(
                f"{self.path}: {name} has the shape {list(tensor.shape)}.\n"
                f"  expected: {dims} axes, got {len(tensor.shape)}"
            )
        return tensor.shape

    def blocks(self, prefix: str) -> int:
        """How many numbered blocks stand behind a prefix, up to the highest number."""
        pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
        return 1 + max((int(m[1]) for name in self.tensors if (m := pattern.match(name))), default=-1)

    def agree(
        self, key: str, size: int, config: Mapping[str, Any], name: str, also: int | None = None
    ) -> int:
        """`size`, unless the user says otherwise; what config.json says about it is compared."""
        stated = config.get(name)
        if key not in self.overrides and stated is not None and stated not in (size, also):
            self.problems.append(f"{name} is {stated!r} in config.json, {size} in the tensors: {key}={size}")
        return _whole(self.overrides.get(key, size), key)

    def known(self, key: str, stated: Any, by_width: Mapping[int, int], width: int, what: str) -> int:
        """A number that no tensor shows: the user's, config.json's, or that of a known width."""
        number = self.overrides.get(key, stated if stated is not None else by_width.get(width))
        if number is None:
            raise CheckpointError(
                f"{self.path} does not say {what}, and {width} is no width that is known for it.\n"
                f"  known: {', '.join(f'{w}: {n}' for w, n in by_width.items())}\n"
                f"  say it:  {key}=NUMBER   (with the command, or as an override of vxl.load)"
            )
        return _whole(number, key)

    def constant(self, key: str, stated: Any, default: float) -> float:
        """A number above 0 that no tensor shows; the family's where config.json does not say it."""
        if stated is None:
            return default
        try:
            number = math.nan if isinstance(stated, bool) else float(stated)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0.0 < number < math.inf:
            raise CheckpointError(
                f"{self.path}: {key} is {str(stated)[:80]!r} in config.json.\n"
                f"  expected: a number above 0, as {default:g}; copy or download config.json again"
            )
        return number

    def refuse_other_mathematics(self) -> None:
        """Raises where config.json asks for what no model of the family computes: it would be left out."""
        rope = self.config.get("rope_scaling") or self.config.get("rope_parameters") or {}
        scaled = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else rope
        act = self.config.get("hidden_act")
        asked = {
            "sliding-window attention": bool(self.config.get("use_sliding_window")),
            f"rope scaling ({scaled})": scaled not in (None, "default"),
            f"hidden_act={act}": act not in (None, "silu"),
        }
        for what in (what for what, is_asked in asked.items() if is_asked):
            raise CheckpointError(
                f"{self.path}: config.json asks for {what}, which no model of the family has.\n"
                "  if that is meant, vxl can't run it; if not, take it out of config.json"
            )

    def finish(self) -> None:
        """Raises where config.json and the tensors differ."""
        if self.problems:
            raise CheckpointError(
                f"{self.path}: config.json and the tensors are of different models.\n  "
                + "\n  ".join(self.problems)
                + "\n  copy or download both again, or say the last if the tensors are right"
            )


def _whole(number: Any, key: str) -> int:
    """A number of config.json.

    Raises:
        CheckpointError: It is none.
    """
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if not isinstance(number, bool) and int(number) == float(number) and int(number) > 0:
            return int(number)
    raise CheckpointError(
        f"{key} is {str(number)[:80]!r} in config.json, or as it was typed.\n"
        f"  say it:  {key}=NUMBER   (with the command, or as an override of vxl.load)"
    )


def vision(sizes: Sizes, default: Mapping[str, Any]) -> dict[str, Any]:
    """The tower's sizes. `mm_vision_tower` of config.json is a path of the authors' and says nothing."""
    width, _, patch, _ = sizes.of(TOWER + "embeddings.patch_embedding.weight", 4)
    positions, _ = sizes.of(TOWER + "embeddings.position_embedding.weight", 2)
    class_tokens = int(TOWER + "embeddings.class_embedding" in sizes.tensors)
    grid = round((positions - class_tokens) ** 0.5)
    mlp, _ = sizes.of(TOWER + "encoder.layers.0.mlp.fc1.weight", 2)
    stated = sizes.vision_config
    whole = sizes.blocks(TOWER + "encoder.layers.")
    layers = min(whole, BLOCKS.get(width, whole))
    if class_tokens:  # CLIP: -1 is the output of the last block, -2 that of the one before
        layers += min(0, int(sizes.config.get("mm_vision_select_layer", -1)) + 1)
    sizes.agree("vision.width", width, sizes.config, "mm_hidden_size")
    side = _whole(stated.get("image_size") or default["size"], "vision.size")
    return {
        "weights": "random",
        "width": sizes.agree("vision.width", width, stated, "hidden_size"),
        "patch": sizes.agree("vision.patch", patch, stated, "patch_size"),
        "mlp": sizes.agree("vision.mlp", mlp, stated, "intermediate_size"),
        # The published code drops the last block of the tower that config.json describes.
        "layers": sizes.agree("vision.layers", layers, stated, "num_hidden_layers", also=layers + 1),
        "heads": sizes.known(
            "vision.heads", stated.get("num_attention_heads"), HEADS, width, "how many heads the tower has"
        ),
        "size": side if side // patch == grid else grid * patch,
    }


def summaries(sizes: Sizes) -> dict[str, Any]:
    """Windows and ratios of the visual summarization tokens.

    Where config.json lists several ratios the published code draws one for each window, in answering too,
    unless its caller names one: the demo names the largest. So do we; `kv.ratios` brings the draw back.
    """
    stated = sizes.config
    ratios = stated.get("beacon_ratio") or [8]
    letters = [
        letter
        for letter, names in PROJECTIONS.items()
        if f"model.layers.0.{names[0].replace('.', '.beacon_')}.weight" in sizes.tensors
    ]
    mix = str(stated.get("beacon_ratio_mix")).partition("-")[0]  # adapt-1024 and adapt-2048 are drawn alike
    draws = {word.partition("-")[0]: draw for draw, word in DRAWS.items()}
    return {
        "ratio": max(int(ratio) for ratio in ratios),
        "draw": draws.get(mix, "window"),
        "window": int(stated.get("beacon_window") or 1440),
        "projections": letters,
    }


def language_model(sizes: Sizes, default: Mapping[str, Any]) -> dict[str, Any]:
    """The language model's sizes and constants."""
    stated = sizes.config
    vocab, width = sizes.of(TABLE, 2)
    mlp, _ = sizes.of("model.layers.0.mlp.gate_proj.weight", 2)
    queries, _ = sizes.of("model.layers.0.self_attn.q_proj.weight", 2)
    keys, _ = sizes.of("model.layers.0.self_attn.k_proj.weight", 2)
    heads = sizes.known(
        "llm.heads",
        stated.get("num_attention_heads"),
        QWEN_HEADS,
        width,
        "how many heads the language model has",
    )
    if queries % heads or keys * heads % queries:
        raise CheckpointError(
            f"{sizes.path}: {heads} heads do not divide {queries} rows of q_proj and {keys} of k_proj.\n"
            "  say how many there are:  llm.heads=NUMBER"
        )
    head_width = queries // heads
    sizes.refuse_other_mathematics()
    rope = stated.get("rope_parameters")
    theta = stated.get("rope_theta", rope.get("rope_theta") if isinstance(rope, dict) else None)
    longest = stated.get("max_position_embeddings")
    return {
        "weights": "random",
        "vocab": sizes.agree("llm.vocab", vocab, stated, "vocab_size"),
        "width": sizes.agree("llm.width", width, stated, "hidden_size"),
        "mlp": sizes.agree("llm.mlp", mlp, stated, "intermediate_size"),
        "layers": sizes.agree("llm.layers", sizes.blocks("model.layers."), stated, "num_hidden_layers"),
        "heads": heads,
        "kv_heads": sizes.agree("llm.kv_heads", keys // head_width, stated, "num_key_value_heads"),
        "head_width": None if head_width * heads == width else head_width,
        "rope_theta": sizes.constant("rope_theta", theta, default["rope_theta"]),
        "norm_eps": sizes.constant("rms_norm_eps", stated.get("rms_norm_eps"), default["norm_eps"]),
        "tied": _tied(sizes),
        "max_positions": _whole(longest or default["max_positions"], "llm.max_positions"),
    }


def _tied(sizes: Sizes) -> bool:
    """Whether the output layer is the embedding table: config.json's word, else whether it has its own."""
    if "llm.tied" in sizes.overrides:
        return bool(sizes.overrides["llm.tied"])
    stated = sizes.config.get("tie_word_embeddings")
    if stated is not None and not isinstance(stated, bool):
        raise CheckpointError(
            f"{sizes.path}: tie_word_embeddings is {stated!r} in config.json.\n"
            "  expected: true or false; or say it:  llm.tied=false"
        )
    return "lm_head.weight" not in sizes.tensors if stated is None else stated
