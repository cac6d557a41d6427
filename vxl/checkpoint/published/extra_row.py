"""The row that Video-XL's published loader adds to the vocabulary, for its placeholder's number.

It is random, in the embedding table and in the output layer, and the published code can choose its token.
vxl leaves it out of the model and keeps it for the way back. Qwen2's tables have a multiple of 64 rows, so
one row more is that row.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from vxl.checkpoint.published.family import HEAD, TABLE
from vxl.checkpoint.published.folder import PublishedFolder
from vxl.weights.stored import Stored

MULTIPLE = 64
_CUT = re.compile(r"(.+)\[(\d+)\]")


def without_extra_row(folder: PublishedFolder) -> tuple[PublishedFolder, dict[str, Stored]]:
    """A folder without the row, and the row of each table: `model.embed_tokens.weight[152064]`."""
    tensors, rows = dict(folder.tensors), {}
    for name in (TABLE, HEAD):
        table = tensors.get(name)
        if table is not None and len(table.shape) == 2 and table.shape[0] % MULTIPLE == 1:
            last = table.shape[0] - 1
            tensors[name], rows[f"{name}[{last}]"] = rows_of(table, 0, last), rows_of(table, last, last + 1)
    config = dict(folder.config)
    if TABLE in folder.tensors and config.get("vocab_size") == folder.tensors[TABLE].shape[0]:
        config["vocab_size"] = tensors[TABLE].shape[0]
    return replace(folder, tensors=tensors, config=config), rows


def with_extra_row(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Tables with the row that was cut off behind them again."""
    whole = dict(tensors)
    for name in tensors:
        match = _CUT.fullmatch(name)
        if match and match[1] in tensors:
            whole[match[1]] = both(tensors[match[1]], whole.pop(name))
    return whole


def rows_of(table: Stored, start: int, stop: int) -> Stored:
    """Rows [start, stop) of a table."""

    def read() -> Tensor:
        return table.part((slice(start, stop),))

    return Stored(table.dtype, (stop - start, *table.shape[1:]), table.file, read)


def both(table: Stored, row: Stored) -> Stored:
    """A table and the row behind it."""

    def read() -> Tensor:
        return torch.cat([table.read(), row.read()])

    return Stored(table.dtype, (table.shape[0] + row.shape[0], *table.shape[1:]), table.file, read)
