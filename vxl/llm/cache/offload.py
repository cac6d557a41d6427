"""Moving tensors between a GPU and the host's memory."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vxl.llm.memo import IdentityMemo


@contextmanager
def mover(device: torch.device) -> Generator[Callable[[Tensor], Tensor]]:
    """A function that copies tensors to a device: each one once, however often it is given, and alone in its
    storage. What leaves a GPU goes to page-locked memory, from which it comes back at the bus's full speed.

    The copies are there when the `with` block ends.
    """
    copies = IdentityMemo[Tensor]()
    busy: set[torch.device] = set()

    def copy(tensor: Tensor) -> Tensor:
        pinned = tensor.is_cuda and device.type == "cpu"
        new = torch.empty(tensor.shape, dtype=tensor.dtype, device=device, pin_memory=pinned)
        new.copy_(tensor.detach(), non_blocking=True)
        busy.update(d for d in (tensor.device, device) if d.type == "cuda")
        return new

    yield lambda tensor: copies.get((tensor,), partial(copy, tensor))
    for each in busy:
        torch.cuda.synchronize(each)


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A nested value with every tensor in it replaced: lists, tuples, dicts and dataclasses are made anew.

    Example:
        >>> map_tensors({"a": (torch.tensor(1), "text")}, lambda tensor: tensor + 1)
        {'a': (tensor(2), 'text')}
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(inner, function) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(inner, function) for inner in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(inner, function) for inner in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        return type(value)(**{name: map_tensors(inner, function) for name, inner in parts.items()})
    return value
