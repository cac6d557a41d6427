"""From weights on disk to a model in memory: strictly, one tensor (or this rank's part of it) at a time."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vxl.checkpoint.published.family import FAMILIES
from vxl.checkpoint.published.folder import lines
from vxl.checkpoint.step_folder import MODEL, StepFolder
from vxl.checkpoint.weights import Weights
from vxl.errors import CheckpointError
from vxl.llm.lora import LoRALinear, is_update
from vxl.model import VideoLanguageModel, build_model
from vxl.option.rebuild import plain
from vxl.parts import ModelParts

log = logging.getLogger(__name__)


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


def refuse_unlike(weights: Weights, model: nn.Module) -> None:
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
    types = [
        f"wrong type: {called(name)} is {str(tensor.dtype).removeprefix('torch.')}, not float32, float16 or "
        "bfloat16: unpack what was quantized, in the code that did it"
        for name, tensor in weights.tensors.items()
        if name in own and own[name].is_floating_point() and not _is_plain(tensor.dtype)
    ]
    problems = sorted(missing) + sorted(unknown) + sorted(shapes) + sorted(types)
    if problems:
        raise CheckpointError(
            f"{weights.path} does not fill the model: {len(own) - len(missing)} of {len(own)} tensors are "
            f"there, {len(unknown)} are unknown, {len(shapes)} have another shape.\n  "
            f"{lines(problems, 10)}\n  copy or download it again; a model is never loaded in part"
        )


def _is_plain(dtype: torch.dtype) -> bool:
    """Whether numbers of a type stand for themselves; those of a byte have their scales elsewhere."""
    return dtype.is_floating_point and dtype.itemsize > 1


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
    refuse_unlike(weights, model)
    device = torch.device(device)
    own = model.state_dict(keep_vars=True)
    again = tied(own)
    outlined = any(tensor.is_meta for tensor in own.values())
    anew = [name for name in own.keys() - again.keys() - weights.tensors.keys() if own[name].is_meta]
    with torch.no_grad():
        for name, place in own.items():
            if name in again:
                continue
            if name not in weights.tensors:  # an update of LoRA, which `refuse_unlike` has let pass
                if place.is_meta:
                    tensor = torch.empty_like(place, device=device, dtype=dtype)
                    replace_tensor(model, name, nn.Parameter(tensor, requires_grad=place.requires_grad))
                continue
            if not place.is_meta:
                take_own(place, weights.tensors[name].part)
            else:
                value = weights.tensors[name].read()
                to = dtype if dtype is not None and value.is_floating_point() else value.dtype
                # A copy: the file must not show through when training changes the weights.
                tensor = value.to(device=device, dtype=to, copy=True)
                if isinstance(place, nn.Parameter):
                    tensor = nn.Parameter(tensor, requires_grad=place.requires_grad)
                replace_tensor(model, name, tensor)
                del value
    for path in {name.rpartition(".")[0] for name in anew}:
        layer = model.get_submodule(path)
        assert isinstance(layer, LoRALinear)
        layer.reset_update()
    for name, first in again.items():
        replace_tensor(model, name, model.get_parameter(first))
    if outlined:
        model.llm.reset_buffers()
        unfilled = [name for name, tensor in named(model) if tensor.is_meta]
        assert not unfilled, unfilled


def warn_of_other_settings(weights: Weights, model: VideoLanguageModel) -> None:
    """Warns where a model computes other numbers with these weights than they were trained for."""
    for key, before, now in other_settings(weights.values, model):
        log.warning("%s: these weights were trained with %s=%s, not %s", weights.path, key, before, now)


def other_settings(values: Mapping[str, Any], model: VideoLanguageModel) -> list[tuple[str, Any, Any]]:
    """(key, as the weights were trained, as the model has it) of the settings that shapes don't show."""
    differing = []
    for group in ("vision", "compressor", "selector"):
        part, before = getattr(model, group, None), values.get(group) or {}
        own = plain(getattr(part, "config", None)) or {}
        keys = ("_target_", "grid", "temporal", "pool", "heads", "score")
        differing += [
            (f"{group}.{key}", before[key], own[key])
            for key in before.keys() & own.keys()
            if (key in keys or key.startswith("published_")) and before[key] != own[key]
        ]
    return sorted(differing)


def heads_of(model: VideoLanguageModel) -> list[str]:
    """The numbers of heads that a published folder may leave open, as overrides of its config."""
    heads = {"vision.heads": getattr(model.vision.config, "heads", None)}
    heads["llm.heads"] = model.llm.causal_lm.config.num_attention_heads
    return [f"{key}={count}" for key, count in heads.items() if count is not None]


def fill_from_step(step: StepFolder, model: nn.Module) -> None:
    """Fills a model with the weights of a checkpoint, in place; every tensor must be there and fit.

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged, or its tensors are not the model's.
    """
    theirs = {
        name.removeprefix(MODEL): tuple(like.shape)
        for name, like in step.outline().items()
        if name.startswith(MODEL)
    }
    own = model.state_dict()
    if not any(is_update(name) for name in theirs):  # a base: LoRA's updates start anew
        own = {name: tensor for name, tensor in own.items() if not is_update(name)}
    problems = [f"{name}: not in the checkpoint" for name in own if name not in theirs]
    problems += [f"{name}: not in the model" for name in theirs if name not in own]
    problems += [
        f"{name}: {list(theirs[name])} in the checkpoint, {list(tensor.shape)} in the model"
        for name, tensor in own.items()
        if name in theirs and theirs[name] != tuple(tensor.shape)
    ]
    if problems:
        raise CheckpointError(
            f"the weights of {step.path} don't fit the model ({len(problems)} of {len(own)} tensors).\n"
            f"  {lines(problems)}\n"
            "  the configuration that wrote them is resolved.yaml in the run's directory"
        )
    step.read_into({MODEL.rstrip("."): own})


def take_own(target: Tensor, part: Callable[[tuple[slice, ...]], Tensor]) -> None:
    """Fills a tensor, or this rank's part of a sharded one, from one that can be read in parts.

    Args:
        target: On any device; of any precision.
        part: Gives the part of the stored tensor that slices name.
    """
    # late: torch.distributed.tensor brings sympy, and a mistake on the command line is answered without
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if not isinstance(target, DTensor):
        target.copy_(part(tuple(slice(0, size) for size in target.shape)))
        return
    shape, offset = compute_local_shape_and_global_offset(target.shape, target.device_mesh, target.placements)
    if 0 not in shape:
        where = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
        target.to_local().copy_(part(where))


def replace_tensor(model: nn.Module, name: str, tensor: Tensor) -> None:
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
