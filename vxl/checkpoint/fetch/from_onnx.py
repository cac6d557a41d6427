"""A DINOv2 in an ONNX graph -> a folder as transformers writes it; read with `onnx` (the extra `small`)."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from vxl.errors import CheckpointError
from vxl.vision.dinov2 import Dinov2, Dinov2Config

PREFIX = "backbone."
SIDE = 37
"""Patches a side of the position table: 518 px."""


def convert_tower(file: Path, folder: Path) -> None:
    """Writes config.json and model.safetensors of the DINOv2-S/14 that stands in front of another model.

    The exporter kept most tensors under their names. It transposed the weights of linear layers, which are
    found by the products that use them, and cut the position table into class token and patches.

    Args:
        file: An ONNX file with a `Dinov2Model` of transformers in it, named `backbone`.
        folder: Where to; it exists.

    Raises:
        CheckpointError: The graph lacks a tensor, or has one of another shape.
    """
    import onnx  # late: onnx, an optional package
    import transformers

    graph = onnx.load(str(file)).graph
    by_name = {tensor.name: tensor for tensor in graph.initializer}

    def read(name: str) -> Tensor:
        return torch.from_numpy(np.array(onnx.numpy_helper.to_array(by_name[name])))

    tensors = {name.removeprefix(PREFIX): read(name) for name in by_name if name.startswith(PREFIX)}
    tables: dict[int, Tensor] = {}
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".").removeprefix(PREFIX)
        unnamed = [name for name in node.input if name in by_name and not name.startswith(PREFIX)]
        if node.op_type == "MatMul" and path.startswith("encoder.") and unnamed:
            tensors[f"{path.removesuffix('.MatMul')}.weight"] = read(unnamed[0]).T.contiguous()
        elif path.startswith("embeddings."):
            tables |= {table.shape[1]: table for table in map(read, unnamed) if table.dim() == 3}
    if sorted(tables) != [1, SIDE**2]:
        raise CheckpointError(
            f"{file} has position tables of {sorted(tables)} rows.\n  expected: 1 and {SIDE**2}"
        )
    tensors["embeddings.position_embeddings"] = torch.cat([tables[1], tables[SIDE**2]], 1)
    width, mlp = tensors["layernorm.weight"].shape[0], tensors["encoder.layer.0.mlp.fc1.bias"].shape[0]
    tensors["embeddings.mask_token"] = torch.zeros(
        1, width
    )  # for its training alone, and so not in the graph
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    ours = Dinov2Config(size=14 * SIDE, width=width, mlp=mlp, weights=str(folder))
    transformers.Dinov2Config(
        hidden_size=width,
        mlp_ratio=mlp // width,
        num_hidden_layers=ours.layers,
        num_attention_heads=ours.heads,
        patch_size=ours.patch,
        image_size=ours.size,
        architectures=["Dinov2Model"],
    ).save_pretrained(folder)
    Dinov2(ours).load_pretrained()  # which refuses what lacks a tensor or has one of another shape
