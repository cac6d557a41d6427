"""Weights under the published names, sharded and indexed as they were published."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vxl.atomic import new_folder
from vxl.checkpoint.published.extra_row import with_extra_row
from vxl.checkpoint.published.family import (
    DRAWS,
    FAMILIES,
    HEAD,
    TABLE,
    VIDEO_XL,
    VIDEO_XL_2,
    VIDEO_XL_PRO,
    VIDEO_XL_PRO_MARCH,
    VST,
    Family,
)
from vxl.checkpoint.published.folder import _copy_tokenizer
from vxl.checkpoint.published.sizes import BLOCKS
from vxl.checkpoint.weights import Weights
from vxl.errors import CheckpointError
from vxl.llm.beacon import is_of_beacon
from vxl.weights.inside import copy_from_folder
from vxl.weights.stored import Stored, write_safetensors

SHARD_BYTES = 5_000_000_000


def write_published(weights: Weights, out: Path) -> None:
    """Writes the published layout: its names, its shards where they are known, and config.json.

    Raises:
        CheckpointError: There is something at `out`, it can't be written, or the model was never published.
    """
    family = FAMILIES[weights.record.family] if weights.record else family_of(weights)
    tensors = {family.theirs(name): tensor for name, tensor in weights.tensors.items()} | weights.unused
    if weights.record is None:
        shards, index = shards_of(tensors)
        metadata: Mapping[str, Mapping[str, str]] = {}
    else:
        record = weights.record
        if record.alias:
            tensors[HEAD] = tensors[TABLE]
        tensors = with_extra_row(tensors)
        shards = {as_safetensors(name): names for name, names in record.files.items()}
        metadata = {as_safetensors(name): text for name, text in record.metadata.items()}
        index = record.index
    absent = [name for names in shards.values() for name in names if name not in tensors]
    if absent:
        raise CheckpointError(
            f"{weights.path} lacks {len(absent)} tensors of its published shards: {absent[0]}"
        )
    with new_folder(out) as folder:
        for shard, names in shards.items():
            write_safetensors(folder / shard, {name: tensors[name] for name in names}, metadata.get(shard))
        if index is not None:
            places = {name: shard for shard, names in shards.items() for name in names}
            text = json.dumps({"metadata": index, "weight_map": dict(sorted(places.items()))}, indent=2)
            (folder / "model.safetensors.index.json").write_text(text + "\n")
        for file in weights.others:
            copy_from_folder(file, weights.place_of_others(), folder / file.name)
        if not (folder / "config.json").exists():
            (folder / "config.json").write_text(json.dumps(published_config(weights.values), indent=2) + "\n")
        _copy_tokenizer(weights.tokenizer, folder)


def as_safetensors(name: str) -> str:
    """A shard's name where it holds safetensors: as transformers names it."""
    return re.sub(r"^pytorch_model(.*)\.bin$", r"model\1.safetensors", name)


def family_of(weights: Weights) -> Family:
    """The published model whose layout a trained one of vxl's own has.

    Raises:
        CheckpointError: There is none, or its code would compute other numbers.
    """
    values = weights.values
    has_beacons = any(is_of_beacon(name) for name in weights.tensors)
    has_selector = any(name.startswith("selector.") for name in weights.tensors)
    if has_beacons:
        has_dts = any(name.startswith("compressor.dts.") for name in weights.tensors)
        family = VIDEO_XL_PRO_MARCH if has_dts else VIDEO_XL
    else:
        family = VIDEO_XL_PRO if has_selector else VIDEO_XL_2
    required = family.needed
    has = {key: (values.get(key.split(".")[0]) or {}).get(key.split(".")[1]) for key in required}
    wrong = [f"{key}={has[key]}, there {value}" for key, value in required.items() if has[key] != value]
    if wrong:
        raise CheckpointError(
            f"{weights.path} has no published layout: the published code of {family.title} would not compute "
            "this model's numbers.\n  " + "\n  ".join(wrong) + "\n  write vxl's own:  --layout vxl"
        )
    return family


def published_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """config.json for the published code, of a model that never had one."""
    llm, vision, kv = values["llm"], values["vision"], values["kv"]
    is_clip = vision["_target_"] == VIDEO_XL.needed["vision._target_"]
    # The published code drops the last of SigLIP's blocks, and selects one of CLIP's.
    blocks = BLOCKS.get(vision["width"], vision["layers"]) if is_clip else vision["layers"] + 1
    described = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "vocab_size": llm["vocab"],
        "hidden_size": llm["width"],
        "intermediate_size": llm["mlp"],
        "num_hidden_layers": llm["layers"],
        "num_attention_heads": llm["heads"],
        "num_key_value_heads": llm["kv_heads"],
        "hidden_act": "silu",
        "rope_theta": llm["rope_theta"],
        "rms_norm_eps": llm["norm_eps"],
        "tie_word_embeddings": llm["tied"],
        "max_position_embeddings": llm["max_positions"],
        "use_sliding_window": False,
        "mm_vision_tower": f"openai/clip-vit-large-patch14-{vision['size']}"
        if is_clip
        else "google/siglip-so400m-patch14-384",
        "mm_hidden_size": vision["width"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_patch_merge_type": "unires",
        "mm_resampler_type": "spatial_pool",
        "mm_spatial_pool_stride": 2,
        "mm_spatial_pool_mode": "average",
        "mm_spatial_pool_out_channels": vision["width"],
        "mm_vision_select_layer": vision["layers"] - blocks - 1 if is_clip else -1,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "use_mm_proj": True,
        "image_aspect_ratio": "anyres",
        "tokenizer_padding_side": "right",
        "vision_config": {
            "hidden_size": vision["width"],
            "intermediate_size": vision["mlp"],
            "num_attention_heads": vision["heads"],
            "num_hidden_layers": blocks,
            "image_size": vision["size"],
            "patch_size": vision["patch"],
        },
    }
    return described | (beacon_config(kv) if kv["_target_"] == VST["kv._target_"] else {})


def beacon_config(kv: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of the beacons."""
    return {
        "enable_beacon": True,
        "beacon_window": kv["window"],
        "beacon_stride": kv["window"],
        "beacon_ratio": kv["ratios"] or [kv["ratio"]],
        "beacon_ratio_mix": DRAWS[kv["draw"]],
        "beacon_param": kv["projections"],
        "beacon_attn": "full-coverage",
        "beacon_attend_prev": True,
        "beacon_accum": True,
        "beacon_pos": "interleave",
        "beacon_embed_init": "eos",
        "beacon_sink_size": 0,
        "beacon_parallel_window": 1,
    }


def shards_of(tensors: Mapping[str, Stored]) -> tuple[dict[str, list[str]], dict[str, Any] | None]:
    """Shards of at most 5 GB, as transformers cuts and names them; and the metadata of their index."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if groups[-1] and size + tensor.bytes > SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += tensor.bytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}, None
    names = {f"model-{i:05d}-of-{len(groups):05d}.safetensors": group for i, group in enumerate(groups, 1)}
    return names, {"total_size": sum(tensor.bytes for tensor in tensors.values())}
