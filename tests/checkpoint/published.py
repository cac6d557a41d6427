"""Folders as they are published, in miniature: made of the golden weights."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.golden import golden

TOWER = "model.vision_tower.vision_tower.vision_model."


def weights(name: str = "video_xl_2") -> dict[str, Tensor]:
    """The tensors of a model by their published names; Video-XL-Pro's tower is random."""
    tower = {key: value for key, value in golden("video_xl_2/vision").items() if key.startswith("model.")}
    if name == "video_xl_2":
        return tower | golden("video_xl_2/compressor") | golden("video_xl_2/llm")
    generator = torch.Generator().manual_seed(0)
    made = {key: torch.randn(value.shape, generator=generator) / 8 for key, value in tower.items()}
    return made | golden("video_xl_pro/weights")


def config_json(name: str = "video_xl_2", **changes: Any) -> dict[str, Any]:
    """config.json of a miniature."""
    return {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "vocab_size": 512,
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 3 if name == "video_xl_2" else 2,
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
    } | changes


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
