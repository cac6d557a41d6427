"""Writing weights to a folder: vxl's own layout, or the published one."""

import json
from pathlib import Path

import yaml

from vxl.atomic import new_folder
from vxl.checkpoint.layouts import CONFIG, PARTS, PUBLISHED, RECORD, UNUSED
from vxl.checkpoint.published.folder import _copy_tokenizer
from vxl.checkpoint.weights import Weights
from vxl.weights.inside import copy_from_folder
from vxl.weights.stored import write_safetensors


def write_vxl(weights: Weights, out: Path) -> None:
    """Writes vxl's own layout: a file a part, the config, the tokenizer, and unused tensors.

    Raises:
        CheckpointError: There is something at `out`, or it can't be written.
    """
    with new_folder(out) as folder:
        for part in PARTS:
            tensors = {name: t for name, t in weights.tensors.items() if name.startswith(f"{part}.")}
            if tensors:
                write_safetensors(folder / f"{part}.safetensors", tensors, sums=True)
        if weights.unused:
            write_safetensors(folder / UNUSED, weights.unused, sums=True)
        if weights.record is not None:
            (folder / RECORD).write_text(json.dumps(vars(weights.record), indent=1))
        _copy_tokenizer(weights.tokenizer, folder / "tokenizer")
        if weights.others:
            (folder / PUBLISHED).mkdir()
            for file in weights.others:
                copy_from_folder(file, weights.place_of_others(), folder / PUBLISHED / file.name)
        # "." says: the weights are beside this file. A copy elsewhere must not mean random ones.
        values = weights.values | {"weights": "."}
        (folder / CONFIG).write_text(yaml.safe_dump(values, sort_keys=False))
