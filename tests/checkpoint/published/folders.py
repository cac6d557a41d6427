"""Folders as they are published, in miniature: made of the golden weights."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.golden import golden
from tests.golden.video_xl_model import FOLDER as VIDEO_XL

TOWER = "model.vision_tower.vision_tower.vision_model."


def weights(name: str = "video_xl_2") -> dict[str, Tensor]:
    """The tensors of a model by their published names; parts without a golden are random."""
    if name == "video_xl":
        return clip_tower() | load_file(VIDEO_XL / "weights.safetensors")
    tower = {key: value for key, value in golden("video_xl_2/vision").items() if key.startswith("model.")}
    if name == "video_xl_2":
        return tower | golden("video_xl_2/compressor") | golden("video_xl_2/llm")
    generator = torch.Generator().manual_seed(0)
    made = {key: torch.randn(value.shape, generator=generator) / 8 for key, value in tower.items()}
    made |= golden("video_xl_pro/weights")
    if name == "video_xl_pro":
        return made
    assert name == "video_xl_pro_march"
    blocks = golden("video_xl_pro/weights")
    made = {key: value for key, value in made.items() if "WindowTimeToTokenAttention" not in key}
    made["model.beacon_embed_tokens.weight"] = torch.randn(1, 96, generator=generator) / 8
    for key, value in blocks.items():
        if key.startswith("model.layers.") and any(f".{letter}_proj." in key for letter in "qkv"):
            head, _, tail = key.rpartition("self_attn.")
            made[f"{head}self_attn.beacon_{tail}"] = torch.randn(value.shape, generator=generator) / 8
    return made


def clip_tower(width: int = 32, blocks: int = 3) -> dict[str, Tensor]:
    """A random CLIP tower for 56 px, and a projector behind it."""
    generator = torch.Generator().manual_seed(1)
    shapes: dict[str, tuple[int, ...]] = {
        f"{TOWER}embeddings.class_embedding": (width,),
        f"{TOWER}embeddings.patch_embedding.weight": (width, 3, 14, 14),
        f"{TOWER}embeddings.position_embedding.weight": (17, width),
        "model.mm_projector.0.weight": (96, width),
        "model.mm_projector.0.bias": (96,),
        "model.mm_projector.2.weight": (96, 96),
        "model.mm_projector.2.bias": (96,),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{TOWER}{norm}.{leaf}": (width,) for leaf in ("weight", "bias")}
    for block in range(blocks):
        at = f"{TOWER}encoder.layers.{block}."
        inner = {"mlp.fc1": (2 * width, width), "mlp.fc2": (width, 2 * width)}
        inner |= {f"self_attn.{part}": (width, width) for part in ("q_proj", "k_proj", "v_proj", "out_proj")}
        for layer, shape in inner.items():
            shapes |= {f"{at}{layer}.weight": shape, f"{at}{layer}.bias": shape[:1]}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{at}{norm}.{leaf}": (width,) for leaf in ("weight", "bias")}
    return {key: torch.randn(shape, generator=generator) / 8 for key, shape in shapes.items()}


def config_json(name: str = "video_xl_2", **changes: Any) -> dict[str, Any]:
    """config.json of a miniature."""
    beacons = {
        "beacon_window": 48,
        "beacon_ratio": [2, 4, 8],
        "beacon_ratio_mix": "step-random",
        "beacon_param": ["q", "k", "v"],
    }
    clip = {
        "mm_hidden_size": 32,
        "mm_vision_tower": "/home/author/models/clip-vit-large-patch14-336",
        "mm_vision_select_layer": -1,
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "image_size": 56,
            "patch_size": 14,
        },
    }
    described: dict[str, Any] = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "vocab_size": 512,
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 2 if "pro" in name else 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "mm_hidden_size": 64,
        "mm_vision_tower": "/home/author/models/siglip-so400m-patch14-384",
        "vision_config": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "image_size": 384,
            "patch_size": 14,
        },
    }
    described |= clip if name == "video_xl" else {}
    return described | (beacons if name in ("video_xl", "video_xl_pro_march") else {}) | changes


def publish(
    folder: Path,
    tensors: dict[str, Tensor] | None = None,
    *,
    shards: int = 1,
    ending: str = "safetensors",
    config: dict[str, Any] | None = None,
) -> Path:
    """Writes a folder as transformers does, in one file or in several with an index."""
    folder.mkdir(parents=True)
    tensors = weights() if tensors is None else tensors
    (folder / "config.json").write_text(json.dumps(config_json() if config is None else config))
    (folder / "generation_config.json").write_text('{"repetition_penalty": 1.05}')
    stem = "model" if ending == "safetensors" else "pytorch_model"
    names = sorted(tensors)
    cuts = [len(names) * i // shards for i in range(shards + 1)]
    places = {}
    for i in range(shards):
        part = {name: tensors[name].contiguous() for name in names[cuts[i] : cuts[i + 1]]}
        file = f"{stem}.{ending}" if shards == 1 else f"{stem}-{i + 1:05d}-of-{shards:05d}.{ending}"
        if ending == "safetensors":
            save_file(part, folder / file, {"format": "pt"})
        else:
            torch.save(part, folder / file)
        places |= dict.fromkeys(part, file)
    if shards > 1:
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    return folder


def files(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors of each safetensors file of a folder."""
    from safetensors.torch import load_file

    return {file.name: load_file(file) for file in sorted(folder.glob("*.safetensors"))}


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors are equal in type, shape and every bit (NaN and -0 too)."""
    return (
        ours.dtype == theirs.dtype
        and ours.shape == theirs.shape
        and torch.equal(ours.reshape(-1).view(torch.uint8), theirs.reshape(-1).view(torch.uint8))
    )
