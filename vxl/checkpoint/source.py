"""Weights of a whole model, wherever they lie: a published folder, a folder of vxl's own, a run's checkpoint.

All three become the same thing: tensors by vxl's names, each to be read when it is wanted, and the config.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from vxl.checkpoint.extra_row import cut
from vxl.checkpoint.family import HEAD, TABLE, Family, detect
from vxl.checkpoint.published import (
    TOKENIZER,
    PublishedFolder,
    is_published,
    lines,
    read_json,
    read_published,
)
from vxl.checkpoint.resolved import changed, model_parts, read_config
from vxl.checkpoint.sizes import settings
from vxl.checkpoint.stored import Stored, metadata_of, open_file
from vxl.data.tokenizer import tokenizer_in
from vxl.errors import CheckpointError

PARTS = ("vision", "compressor", "selector", "llm")
CONFIG, UNUSED, RECORD, PUBLISHED = "resolved.yaml", "unused.safetensors", "published.json", "published"


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


def is_weights(path: Path) -> bool:
    """Whether a path is a folder of weights, vxl's own or a published one (and not a run)."""
    return is_vxl(path) or (is_published(path) and not (path / CONFIG).exists())


def is_vxl(path: Path) -> bool:
    """Whether a path is a folder of weights that vxl wrote."""
    return (path / CONFIG).is_file() and (path / "llm.safetensors").is_file()


def open_weights(path: Path, overrides: Sequence[str] = ()) -> Weights:
    """Opens a folder of weights.

    Args:
        path: vxl's own, or a published one.
        overrides: Changes to the config, `KEY=VALUE` or `GROUP=NAME`; also what config.json leaves open.

    Raises:
        CheckpointError: Something is missing, unknown, or of the wrong shape.
        ConfigError: An override does not fit.
    """
    return open_vxl(path, overrides) if is_vxl(path) else from_published(path, overrides)


def open_vxl(path: Path, overrides: Sequence[str] = ()) -> Weights:
    """Opens a folder that vxl wrote."""
    tensors: dict[str, Stored] = {}
    for part in PARTS:
        file = path / f"{part}.safetensors"
        if file.exists():
            tensors |= open_file(file)
    unused = open_file(path / UNUSED) if (path / UNUSED).exists() else {}
    record = Record(**read_json(path / RECORD)) if (path / RECORD).exists() else None
    others = tuple(sorted((path / PUBLISHED).iterdir())) if (path / PUBLISHED).is_dir() else ()
    values = read_config(path / CONFIG, overrides)
    return Weights(path, tensors, values, tokenizer_in(path), unused, record, others)


def from_published(path: Path, overrides: Sequence[str] = ()) -> Weights:
    """Opens a published folder: detects the family, maps the names, takes the sizes from the tensors."""
    from vxl.config.schema import ModelParts

    folder, extra_rows = cut(read_published(path))
    family = detect(folder.tensors, str(path))
    given = {key: yaml.safe_load(text) for key, _, text in (word.partition("=") for word in overrides)}
    values = written_out(settings(family, folder, given, ModelParts.__dataclass_fields__))
    for override in overrides:
        values = changed(values, override)
    values = written_out(values)
    tensors, unused = rename(family, folder, int(values["vision"]["layers"]))
    alias = bool(values["llm"]["tied"]) and HEAD in folder.tensors
    if alias:
        refuse_other_head(folder)
        del tensors[family.ours(HEAD) or HEAD]
    record = Record(
        family=family.name,
        files=folder.shards,
        metadata={name: metadata_of(path / name) for name in folder.shards},
        index=folder.index,
        alias=alias,
    )
    others = sorted(file for file in path.iterdir() if is_other(file))
    return Weights(path, tensors, values, tokenizer_in(path), unused | extra_rows, record, tuple(others))


def written_out(values: dict[str, Any]) -> dict[str, Any]:
    """The config with every default written out, checked."""
    from vxl.config.rebuild import plain

    return plain(model_parts(values))


def rename(
    family: Family, folder: PublishedFolder, blocks: int
) -> tuple[dict[str, Stored], dict[str, Stored]]:
    """(tensors by our names, tensors that nobody uses by theirs).

    Raises:
        CheckpointError: There are tensors that the family does not have; they are listed.
    """
    tensors: dict[str, Stored] = {}
    unused: dict[str, Stored] = {}
    unknown = []
    for theirs, tensor in folder.tensors.items():
        try:
            ours = family.ours(theirs)
        except KeyError:
            unknown.append(theirs)
            continue
        if ours is None or block_of(ours) >= blocks:
            unused[theirs] = tensor
        else:
            tensors[ours] = tensor
    if unknown:
        raise CheckpointError(
            f"{folder.path} is a {family.title}, but {len(unknown)} of its {len(folder.tensors)} tensors are "
            f"none of that model's:\n  {lines(unknown)}\n  expected: the tensors of {family.repository}"
        )
    return tensors, unused


def block_of(name: str) -> int:
    """The number of the tower's block that a tensor of ours belongs to; -1 if to none."""
    head = "vision.encoder.layers."
    return int(name.removeprefix(head).partition(".")[0]) if name.startswith(head) else -1


def refuse_other_head(folder: PublishedFolder) -> None:
    """Raises where the output layer is said to be the embedding table, and is not."""
    head, table = folder.tensors[HEAD], folder.tensors[TABLE]
    if head.shape == table.shape and torch.equal(head.read(), table.read()):
        return
    raise CheckpointError(
        f"{folder.path}: config.json ties {HEAD} {list(head.shape)} to {TABLE} {list(table.shape)}, but they "
        "differ.\n  use both:  llm.tied=false"
    )


def is_other(file: Path) -> bool:
    """Whether a published file is kept as it is: small text, and no weights, index or tokenizer."""
    return (
        file.is_file()
        and file.suffix in (".json", ".txt", ".md", ".py", ".jinja")
        and file.name not in TOKENIZER
        and not file.name.endswith(".index.json")
        and file.stat().st_size < 10_000_000
    )
