"""Weights of a model before they are read: names, places and parts of their tensors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vxl.checkpoint.published.family import FAMILIES
from vxl.errors import CheckpointError
from vxl.weights.inside import read_json_object
from vxl.weights.stored import Stored

WEIGHTS = (".safetensors", ".bin")


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

    @classmethod
    def read(cls, file: Path) -> "Record":
        """The record of a folder that vxl wrote, checked: files are written under the names that it holds.

        Raises:
            CheckpointError: It is damaged, or names files outside a folder.
        """
        values = read_json_object(file)
        try:
            record = cls(**values)
            names = [*record.files, *record.metadata]
            outside = [name for name in names if Path(name).name != name or not name.endswith(WEIGHTS)]
            lists = all(isinstance(name, str) for each in record.files.values() for name in each)
            texts = all(
                isinstance(text, str) for each in record.metadata.values() for text in (*each, *each.values())
            )
            index = record.index is None or isinstance(record.index, dict)
        except (TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(f"{file} is damaged: {error}\n  copy or import it again") from error
        if outside:
            raise CheckpointError(
                f"{file} names the file {outside[0]!r}, which is no file of weights in the folder.\n"
                "  it would be written elsewhere; import the published folder again"
            )
        if record.family not in FAMILIES or not (lists and texts and index):
            raise CheckpointError(f"{file} is damaged: its values are of other types.\n  import it again")
        return record


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
    """Unused tensors of the published files, by published names."""
    record: Record | None = None
    """How it was published; None if it never was."""
    others: tuple[Path, ...] = ()
    """Small files that were published with it: config.json and the like."""

    def place_of_others(self) -> Path:
        """The folder that `others` lie in."""
        return self.others[0].parent

    @property
    def dtype(self) -> torch.dtype:
        """The precision of most of it."""
        sizes: dict[torch.dtype, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
        return max(sizes, key=lambda dtype: sizes[dtype])
