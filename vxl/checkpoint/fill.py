"""From weights on disk to a model in memory: strictly, one tensor (or this rank's part of it) at a time."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from vxl.checkpoint.published.family import FAMILIES
from vxl.checkpoint.published.folder import lines
from vxl.checkpoint.weights import Weights
from vxl.errors import CheckpointError
from vxl.llm.lora import LoRALinear, is_update
from vxl.model import VideoLanguageModel, build_model
from vxl.parts import ModelParts


def skeleton(config: ModelParts, **settings: Any) -> VideoLanguageModel:
    """The model that a config describes, with shapes and without memory."""
    return build_model(config, device="meta", pretrained=False, **settings)


def wanted(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that a model needs, tied ones once."""
    own = model.state_dict(keep_vars=True)
    again = tied(own)
    return {name: tensor for name, tensor in own.items() if name not in again}


def tied(own: dict[str, Tensor]) -> dict[str, str]:
    """{name: the earlier name of the same tensor}."""
    first: dict[int, str] = {}
    return {
        name: first[id(tensor)] for name, tensor in own.items() if first.setdefault(id(tensor), name) != name
    }


def compare(weights: Weights, model: nn.Module) -> None:
    """Raises unless every tensor of the weights is one of the model's, of its shape, and none is missing.

    LoRA's updates may be missing: they start anew.

    Raises:
        CheckpointError: They differ; the message lists how, by published names where there are any.
    """
    family = FAMILIES.get(weights.record.family) if weights.record else None
    own = wanted(model)

    def called(name: str) -> str:
        return family.theirs(name) if family else name

    lacking = [name for name in own.keys() - weights.tensors if not is_update(name)]
    missing = [f"missing: {called(name)} {list(own[name].shape)}" for name in lacking]
    unknown = [f"unknown: {called(name)}" for name in weights.tensors.keys() - own]
    shapes = [
        f"wrong shape: {called(name)} is {list(tensor.shape)}, expected {list(own[name].shape)}"
        for name, tensor in weights.tensors.items()
        if name in own and tensor.shape != tuple(own[name].shape)
    ]
    problems = sorted(missing) + sorted(unknown) + sorted(shapes)
    if problems:
        raise CheckpointError(
            f"{weights.path} does not fill the model: {len(own) - len(missing)} of {len(own)} tensors are "
            f"there, {len(unknown)} are unknown, {len(shapes)} have another shape.\n  "
            f"{lines(problems, 10)}\n  copy or download it again; a model is never loaded in part"
        )


def fill(
    model: VideoLanguageModel,
    weights: Weights,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Fills a model, made or only outlined (`skeleton`), with weights.

    Args:
        model: Its outlined tensors are made here; others are overwritten where they are. Of a sharded tensor
            only this rank's part is read.
        weights: What to fill it with.
        device: Where outlined tensors are made.
        dtype: Their precision; None for that of the file.

    Raises:
        CheckpointError: The weights are not the model's.
    """
    compare(weights, model)
    device = torch.device(device)
    own = model.state_dict(keep_vars=True)
    again = tied(own)
    outlined = any(tensor.is_meta for tensor in own.values())
    anew = [name for name in own.keys() - again.keys() - weights.tensors.keys() if own[name].is_meta]
    with torch.no_grad():
        for name, place in own.items():
            if name in again:
                continue
            if name not in weights.tensors:  # an update of LoRA, which `compare` has let pass
                if place.is_meta:
                    made = torch.empty_like(place, device=device, dtype=dtype)
                    put(model, name, nn.Parameter(made, requires_grad=place.requires_grad))
                continue
            if not place.is_meta:
                take_own(place, weights.tensors[name].part)
            else:
                value = weights.tensors[name].read()
                to = dtype if dtype is not None and value.is_floating_point() else value.dtype
                # A copy: the file must not show through when training changes the weights.
                made = value.to(device=device, dtype=to, copy=True)
                if isinstance(place, nn.Parameter):
                    made = nn.Parameter(made, requires_grad=place.requires_grad)
                put(model, name, made)
                del value
    for path in {name.rpartition(".")[0] for name in anew}:
        layer = model.get_submodule(path)
        assert isinstance(layer, LoRALinear)
        layer.reset_update()
    for name, first in again.items():
        put(model, name, model.get_parameter(first))
    if outlined:
        model.llm.reset_buffers()
        left = [name for name, tensor in named(model) if tensor.is_meta]
        assert not left, left


def take_own(target: Tensor, part: Callable[[tuple[slice, ...]], Tensor]) -> None:
    """Fills a tensor, or this rank's part of a sharded one, from one that can be read in parts.

    Args:
        target: On any device; of any precision.
        part: Gives the part of the stored tensor that slices name.
    """
    if not isinstance(target, DTensor):
        target.copy_(part(tuple(slice(0, size) for size in target.shape)))
        return
    shape, offset = compute_local_shape_and_global_offset(target.shape, target.device_mesh, target.placements)
    if 0 not in shape:
        where = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
        target.to_local().copy_(part(where))


def put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Replaces a model's parameter or buffer."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if isinstance(tensor, nn.Parameter):
        module._parameters[leaf] = tensor
    else:
        module._buffers[leaf] = tensor


def named(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Parameters and buffers, those that are never saved too."""
    yield from model.named_parameters()
    yield from model.named_buffers()
