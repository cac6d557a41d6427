"""Opens folders of weights: a published one, or one that vxl wrote.

Both become the same thing: tensors by vxl's names, each to be read when it is wanted, and the config.
"""

from collections.abc import Sequence
from pathlib import Path

from vxl.checkpoint.layouts import CONFIG, PARTS, PUBLISHED, RECORD, UNUSED, is_vxl
from vxl.checkpoint.published.read import from_published
from vxl.checkpoint.resolved import read_config
from vxl.checkpoint.weights import Record, Weights
from vxl.data.batch.tokenizer import tokenizer_in
from vxl.weights.stored import Stored, open_file


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
    record = Record.read(path / RECORD) if (path / RECORD).exists() else None
    others = tuple(sorted((path / PUBLISHED).iterdir())) if (path / PUBLISHED).is_dir() else ()
    values = read_config(path / CONFIG, overrides)
    return Weights(path, tensors, values, tokenizer_in(path), unused, record, others)
