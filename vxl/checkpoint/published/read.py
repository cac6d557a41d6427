"""A published folder as weights under vxl's names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vxl.checkpoint.published.extra_row import without_extra_row
from vxl.checkpoint.published.family import HEAD, TABLE, TOWER, Family, detect
from vxl.checkpoint.published.folder import TOKENIZER, PublishedFolder, lines, read_published
from vxl.checkpoint.published.sizes import published_settings
from vxl.checkpoint.resolved import model_parts, with_changes
from vxl.checkpoint.weights import Record, Weights
from vxl.data.batch.tokenizer import tokenizer_in
from vxl.errors import CheckpointError
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import plain
from vxl.parts import ModelParts
from vxl.weights.stored import Stored, metadata_of


def from_published(path: Path, overrides: Sequence[str] = ()) -> Weights:
    """Opens a published folder: detects the family, maps the names, takes the sizes from the tensors."""
    folder, extra_rows = without_extra_row(read_published(path))
    family = detect(folder.tensors, str(path))
    refuse_without_tower(folder)
    overridden = {key: read_yaml(text) for key, _, text in (word.partition("=") for word in overrides)}
    values = written_out(published_settings(family, folder, overridden, ModelParts.__dataclass_fields__))
    values = written_out(with_changes(values, overrides))
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


def refuse_without_tower(folder: PublishedFolder) -> None:
    """Raises where the vision tower was left out, as LLaVA's code does with a tower that it did not train."""
    if any(name.startswith(TOWER) for name in folder.tensors):
        return
    tower = folder.config.get("mm_vision_tower") or "config.json does not say which (mm_vision_tower)"
    raise CheckpointError(
        f"{folder.path} lacks the vision tower ({TOWER}*): it was frozen, and left out when this was saved.\n"
        f"  the tower: {tower}\n"
        "  save the model again with it, in the code that saved it:\n"
        "    model.get_vision_tower().load_model(); model.save_pretrained('WHOLE')\n"
        "    vxl import WHOLE"
    )


def written_out(values: dict[str, Any]) -> dict[str, Any]:
    """The config with every default written out, checked."""
    return plain(model_parts(values))


def rename(
    family: Family, folder: PublishedFolder, blocks: int
) -> tuple[dict[str, Stored], dict[str, Stored]]:
    """(tensors by our names, unused tensors by theirs).

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
