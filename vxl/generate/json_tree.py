"""Nested values as JSON with tensors beside it, and back: what a context is saved as, without pickle.

A tensor that stands in several places is written once and read as one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vxl.errors import CheckpointError, ConfigError
from vxl.option.build import locate


def to_json(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The JSON of a value of plain types, tuples, arrays, tensors and dataclasses.

    Args:
        value: What to write.
        tensors: Gets the tensors and arrays, by name.

    Example:
        >>> tensors = {}
        >>> to_json({"a": (1, torch.tensor(2))}, tensors), tensors
        ({'dict': [['a', {'tuple': [1, {'tensor': 't0'}]}]]}, {'t0': tensor(2)})
    """
    names: dict[tuple[Any, ...], str] = {}  # by memory: layers may share some through views of their own

    def named(value: Tensor | np.ndarray) -> str:
        array = isinstance(value, np.ndarray)
        tensor = torch.from_numpy(value) if array else value
        place = (array, tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place not in names:
            names[place] = f"{'a' if array else 't'}{len(tensors)}"
            tensors[names[place]] = tensor
        return names[place]

    def flat(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list):
            return [flat(inner) for inner in value]
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return {"tuple": [flat(inner) for inner in value]}
        if isinstance(value, dict):
            return {"dict": [[flat(key), flat(inner)] for key, inner in value.items()]}
        if isinstance(value, Tensor | np.ndarray):
            return {"array" if isinstance(value, np.ndarray) else "tensor": named(value)}
        kind = type(value)
        field_names = getattr(kind, "_fields", None)  # of a named tuple
        if dataclasses.is_dataclass(kind):
            field_names = [field.name for field in dataclasses.fields(kind) if field.init]
        if field_names is not None:
            fields = {name: flat(getattr(value, name)) for name in field_names}
            return {"dataclass": f"{kind.__module__}.{kind.__qualname__}", "fields": fields}
        raise TypeError(f"a context can't be saved with a {type(value).__name__} in its state")

    return flat(value)


def from_json(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that `to_json` wrote.

    Raises:
        CheckpointError: It names a class that is none of vxl's (or a plug-in's), or a tensor that is not
            there.
    """

    def full(value: Any) -> Any:
        if isinstance(value, list):
            return [full(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        if "tuple" in value:
            return tuple(full(inner) for inner in value["tuple"])
        if "dict" in value:
            return {full(key): full(inner) for key, inner in value["dict"]}
        if "dataclass" in value:
            fields = {name: full(inner) for name, inner in value["fields"].items()}
            return class_of_record(value["dataclass"])(**fields)
        name = value.get("tensor", value.get("array"))
        if name not in tensors:
            raise CheckpointError(f"tensor {name} is missing.")
        return tensors[name] if "tensor" in value else tensors[name].cpu().numpy()

    return full(value)


def class_of_record(path: str) -> Callable[..., Any]:
    """The dataclass or named tuple of an import path, if the allow-list has its prefix."""
    try:
        record_class = locate(path)
    except ConfigError:
        record_class = None
    if not isinstance(record_class, type) or not (
        dataclasses.is_dataclass(record_class) or hasattr(record_class, "_fields")
    ):
        raise CheckpointError(f"{path} is no part of a context's state.")
    return record_class
