"""Weights of a model before they are read: names, places and parts of their tensors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vxl.weights.stored import Stored


@dataclass(frozen=True)
class Record:
    """How a published folder was laid out, for the way back."""

    family: str
    files: dict[str, list[str]]
    """The published names in each file."""
    metadata: dict[str, dict[str, str]]
    """The free text in each file's header."""
    index: dict[str, Any] | None
    """`metadata` of the index; None for a single file."""
    alias: bool
    """Whether the file held the output layer a second time, though it is the embedding table."""


@dataclass(frozen=True)
class Weights:
    """A model on disk."""

    path: Path
    tensors: dict[str, Stored]
    """Everything the model has, by vxl's names."""
    values: dict[str, Any]
    """The resolved config."""
    tokenizer: Path | None = None
    """Folder with the tokenizer's files."""
    unused: dict[str, Stored] = field(default_factory=dict)
    """What the published files have and nobody uses, by published names."""
    record: Record | None = None
    """How it was published; None if it never was."""
    others: tuple[Path, ...] = ()
    """Small files that were published with it: config.json and the like."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of most of it."""
        sizes: dict[torch.dtype, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
        return max(sizes, key=lambda dtype: sizes[dtype])
