"""The published models at their true sizes, on the meta device: names, shapes, counts."""

from pathlib import Path

import pytest
import torch

from vxl.checkpoint.fill import skeleton, wanted
from vxl.checkpoint.published.family import FAMILIES, TOWER
from vxl.checkpoint.published.folder import PublishedFolder
from vxl.checkpoint.published.sizes import published_settings
from vxl.checkpoint.resolved import model_parts
from vxl.weights.stored import Stored

Shapes = dict[str, tuple[int, ...]]


def tower() -> Shapes:
    width, mlp = 1152, 4304
    shapes: Shapes = {
        "embeddings.patch_embedding.weight": (width, 3, 14, 14),
        "embeddings.patch_embedding.bias": (width,),
        "embeddings.position_embedding.weight": (729, width),
        "post_layernorm.weight": (width,),
        "post_layernorm.bias": (width,),
    }
    for block in range(26):
        at = f"encoder.layers.{block}."
        for part in "qkv":
            shapes |= linear(f"{at}self_attn.{part}_proj", width, width)
        shapes |= linear(f"{at}self_attn.out_proj", width, width)
        shapes |= linear(f"{at}mlp.fc1", mlp, width) | linear(f"{at}mlp.fc2", width, mlp)
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{at}{norm}.{leaf}": (width,) for leaf in ("weight", "bias")}
    return {TOWER + name: shape for name, shape in shapes.items()}


def clip() -> Shapes:
    width, mlp = 1024, 4096
    shapes: Shapes = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, 14, 14),
        "embeddings.position_embedding.weight": (577, width),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{norm}.{leaf}": (width,) for leaf in ("weight", "bias")}
    for block in range(24):
        at = f"encoder.layers.{block}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{at}self_attn.{part}", width, width)
        shapes |= linear(f"{at}mlp.fc1", mlp, width) | linear(f"{at}mlp.fc2", width, mlp)
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{at}{norm}.{leaf}": (width,) for leaf in ("weight", "bias")}
    return {TOWER + name: shape for name, shape in shapes.items()}


def beacons(width: int, keys: int, layers: int) -> Shapes:
    shapes: Shapes = {"model.beacon_embed_tokens.weight": (1, width)}
    for layer in range(layers):
        for letter, out in (("q", width), ("k", keys), ("v", keys)):
            shapes |= linear(f"model.layers.{layer}.self_attn.beacon_{letter}_proj", out, width)
    return shapes


def linear(name: str, out: int, into: int, *more: int) -> Shapes:
    return {f"{name}.weight": (out, into, *more), f"{name}.bias": (out,)}


def dts() -> Shapes:
    width = 1152
    shapes: Shapes = {"temporal_encoding": (4, width)}
    for first in (0, 3):
        for block in (first, first + 1):
            shapes |= {f"encoder.{block}.norm.{leaf}": (width,) for leaf in ("weight", "bias")}
        for part in ("q", "k", "v", "proj_out"):
            shapes |= linear(f"encoder.{first}.{part}", width, width, 1, 1, 1)
        shapes |= linear(f"encoder.{first + 1}.qkv", 3 * width, width, 1)
        shapes |= linear(f"encoder.{first + 1}.proj_out", width, width, 1)
        for part in "kv":
            shapes[f"encoder.{first + 1}.relative_position_{part}.embeddings_table"] = (129, width)
        shapes |= linear(f"encoder.{first + 2}.conv", width, width, 3, 3, 3)
    return {f"model.sae.{name}": shape for name, shape in shapes.items()}


def projector(width: int, vision: int = 1152) -> Shapes:
    return linear("model.mm_projector.0", width, vision) | linear("model.mm_projector.2", width, width)


def qwen(vocab: int, width: int, keys: int, mlp: int, layers: int, *, head: bool) -> Shapes:
    shapes: Shapes = {"model.embed_tokens.weight": (vocab, width), "model.norm.weight": (width,)}
    if head:
        shapes["lm_head.weight"] = (vocab, width)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= linear(f"{at}self_attn.q_proj", width, width)
        shapes |= linear(f"{at}self_attn.k_proj", keys, width) | linear(f"{at}self_attn.v_proj", keys, width)
        shapes[f"{at}self_attn.o_proj.weight"] = (width, width)
        shapes |= {f"{at}mlp.{part}_proj.weight": (mlp, width) for part in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (width, mlp)
        shapes |= {f"{at}{norm}_layernorm.weight": (width,) for norm in ("input", "post_attention")}
    return shapes


def selector(width: int, *, attention: bool = True) -> Shapes:
    shapes = linear("model.text_mlp.0", width, width)
    if not attention:
        return shapes
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= linear(f"model.WindowTimeToTokenAttention.{part}", width, width)
    return shapes


PUBLISHED: dict[str, tuple[dict[str, Shapes], dict[str, int]]] = {
    "videoxl2": (
        {
            "tower": tower(),
            "dts": dts(),
            "projector": projector(3584),
            "llm": qwen(152064, 3584, 512, 18944, 28, head=True),
        },
        {"tower": 397_747_744, "dts": 93_526_272, "projector": 16_980_992, "llm": 7_615_616_512},
    ),
    "videoxl_pro": (
        {
            "tower": tower(),
            "dts": dts(),
            "projector": projector(2048),
            "selector": selector(2048),
            "llm": qwen(151936, 2048, 256, 11008, 36, head=False),
        },
        {"tower": 397_747_744, "dts": 93_526_272, "llm": 3_085_938_688},
    ),
    "videoxl_pro_march": (
        {
            "tower": tower(),
            "dts": dts(),
            "projector": projector(2048),
            "selector": selector(2048, attention=False),
            "llm": qwen(151936, 2048, 256, 11008, 36, head=False),
            "beacons": beacons(2048, 256, 36),
        },
        {"llm": 3_085_938_688},
    ),
    "videoxl": (
        {
            "tower": clip(),
            "projector": projector(3584, 1024),
            "llm": qwen(152064, 3584, 512, 18944, 28, head=True),
            "beacons": beacons(3584, 512, 28),
        },
        {"tower": 303_507_456, "llm": 7_615_616_512, "beacons": 462_554_624},
    ),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_names_shapes_and_counts(name: str) -> None:
    parts, counts = PUBLISHED[name]
    assert {
        part: sum(torch.Size(shape).numel() for shape in parts[part].values()) for part in counts
    } == counts
    published = {theirs: shape for part in parts.values() for theirs, shape in part.items()}
    family = FAMILIES[name]
    folder = folder_of(published)
    values = published_settings(
        family, folder, {}, ("vision", "compressor", "selector", "llm", "video", "prefill", "kv")
    )
    own = {
        family.theirs(ours): tuple(tensor.shape)
        for ours, tensor in wanted(skeleton(model_parts(values))).items()
    }
    unused = {theirs for theirs in published if family.ours(theirs) is None}
    assert unused == {f"{TOWER}post_layernorm.{leaf}" for leaf in ("weight", "bias")}
    assert own == {theirs: shape for theirs, shape in published.items() if theirs not in unused}


def folder_of(shapes: Shapes) -> PublishedFolder:
    """A folder of that size, without one byte of it, and without config.json."""
    tensors = {
        name: Stored(torch.bfloat16, shape, Path("model.safetensors"), lambda: torch.empty(0))
        for name, shape in shapes.items()
    }
    return PublishedFolder(Path("nowhere"), tensors, {}, None, {})
