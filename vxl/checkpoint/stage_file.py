"""Files of one part that training stages left: `dts.pth` (the DTS alone), a projector's .bin.

Such a file starts a new model (`init_from=FILE`), or becomes a folder with that part alone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vxl.atomic import new_folder
from vxl.checkpoint.layouts import UNUSED
from vxl.checkpoint.published.folder import lines
from vxl.errors import CheckpointError
from vxl.weights.stored import PICKLES, Stored, open_file, write_safetensors

_DTS = re.compile(r"(?:model\.)?(?:sae\.)?(temporal_encoding|encoder\..+)")
_PROJECTOR = re.compile(r"(?:.*\.)?mm_projector\.(.+)")
# What a DTS of any size has; more says nothing, less is a file that was cut.
_ATTENTION = ("norm.weight", "norm.bias", "proj_out.weight", "proj_out.bias")
_EXPECTED: dict[str, tuple[str, ...]] = {
    "compressor": (
        "compressor.dts.temporal_encoding",
        *(f"compressor.dts.encoder.{block}.{leaf}" for block in (0, 1, 3, 4) for leaf in _ATTENTION),
        *(
            f"compressor.dts.encoder.{block}.{which}.{leaf}"
            for block in (0, 3)
            for which in "qkv"
            for leaf in ("weight", "bias")
        ),
        *(
            f"compressor.dts.encoder.{block}.{leaf}"
            for block in (1, 4)
            for leaf in (
                "qkv.weight",
                "qkv.bias",
                "relative_position_k.embeddings_table",
                "relative_position_v.embeddings_table",
            )
        ),
        *(f"compressor.dts.encoder.{block}.conv.{leaf}" for block in (2, 5) for leaf in ("weight", "bias")),
    ),
    "projector": tuple(f"compressor.projector.{i}.{leaf}" for i in (0, 2) for leaf in ("weight", "bias")),
}


@dataclass(frozen=True)
class StageFile:
    """One part's weights."""

    path: Path
    part: str
    """compressor (the DTS without the projector) or projector."""
    tensors: dict[str, Stored]
    """By vxl's names."""
    unused: dict[str, Stored]
    """What else the file holds (a decoder, say), by its own names."""


def is_stage_file(path: Path) -> bool:
    """Whether a path is a file that may hold one part's weights."""
    return path.is_file() and path.suffix in (*PICKLES, ".safetensors")


def open_stage_file(path: Path, part: str | None = None) -> StageFile:
    """Opens the file of a part.

    Args:
        path: A .pth, .bin or .safetensors file.
        part: compressor or projector; None for what its names say.

    Raises:
        CheckpointError: It holds neither, or not all of it, or would execute code.
    """
    if part not in (None, *_EXPECTED):
        raise CheckpointError(f"--part {part} never comes alone.\n  allowed: {', '.join(_EXPECTED)}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file.\n  expected: dts.pth, mm_projector.bin or the like")
    content = open_file(path)
    maps: Mapping[str, Callable[[str], str | None]] = {"compressor": _dts, "projector": _projector}
    for kind, ours in maps.items():
        if part not in (None, kind):
            continue
        tensors = {name: tensor for theirs, tensor in content.items() if (name := ours(theirs)) is not None}
        if not tensors:
            continue
        absent = [name for name in _EXPECTED[kind] if name not in tensors]
        if absent:
            raise CheckpointError(
                f"{path} lacks {len(absent)} of the {len(_EXPECTED[kind])} tensors of a {kind}:\n"
                f"  {lines(absent)}\n  copy or download it again"
            )
        unused = {theirs: tensor for theirs, tensor in content.items() if ours(theirs) is None}
        return StageFile(path, kind, tensors, unused)
    heads = sorted({name.split(".")[0] for name in content})
    raise CheckpointError(
        f"{path} holds {len(content)} tensors of no {part or 'part'}; "
        f"they begin with {', '.join(heads[:6])}.\n"
        "  expected: temporal_encoding and encoder.* (a DTS), or mm_projector.* (a projector)"
    )


def write_part(stage: StageFile, out: Path) -> None:
    """Writes a part's folder, which `init_from=` takes."""
    with new_folder(out) as folder:
        write_safetensors(folder / f"{stage.part}.safetensors", stage.tensors, sums=True)
        if stage.unused:
            write_safetensors(folder / UNUSED, stage.unused, sums=True)


def _dts(theirs: str) -> str | None:
    match = _DTS.fullmatch(theirs)
    return f"compressor.dts.{match[1]}" if match else None


def _projector(theirs: str) -> str | None:
    match = _PROJECTOR.fullmatch(theirs)
    return f"compressor.projector.{match[1]}" if match else None
