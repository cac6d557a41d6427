"""Reads a tower's tensors, and only these, from a `transformers` checkpoint."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.errors import CheckpointError
from vxl.weights.fetched import refuse_unfetched
from vxl.weights.inside import read_json_object
from vxl.weights.stored import open_file

log = logging.getLogger(__name__)

# In this order, as transformers looks for them; an index names the shards that hold each tensor.
FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What stands before a tower's names: in its own checkpoint, beside a text tower, behind a head.
PREFIXES = ("", "vision_model.", "dinov2.", "dinov2_with_registers.")


def read_tower(
    source: str,
    names: Iterable[str],
    published: Callable[[str], tuple[str, ...]],
    key: str = "vision.weights",
) -> dict[str, Tensor]:
    """The tensors `names` of a checkpoint.

    Args:
        source: A hub name or the path of a folder.
        names: The parameters wanted, by our names.
        published: From our name of a parameter to the names that it may have in the checkpoint.
        key: The setting that names the checkpoint, for messages.

    Raises:
        CheckpointError: There is no such checkpoint, or it lacks a tensor.
    """
    refuse_unfetched(source)
    files = _shards(source, key)
    tensors: dict[str, Tensor] = {}
    missing: list[str] = []
    for name in names:
        candidates = [prefix + theirs for theirs in published(name) for prefix in PREFIXES]
        published_name = next((candidate for candidate in candidates if candidate in files), None)
        if published_name is None:
            missing.append(published(name)[0])
        else:
            tensors[name] = files[published_name]()
    if missing:
        listed = ", ".join(missing[:4]) + (", …" if len(missing) > 4 else "")
        raise CheckpointError(
            f"{key}={source} lacks {len(missing)} of {len(missing) + len(tensors)} tensors: {listed}\n"
            "  expected: a checkpoint of the architecture and at least as many blocks as vision.layers says\n"
            f"  e.g.  {key}=random"
        )
    return tensors


def load_exactly(
    module: nn.Module, tensors: Mapping[str, Tensor], source: str, key: str = "vision.weights"
) -> None:
    """Copies `found` into a module, every tensor of it.

    Raises:
        CheckpointError: Shapes differ; all of them are listed.
    """
    own = module.state_dict()
    fitting = {}
    for name, tensor in tensors.items():
        while tensor.dim() > own[name].dim() and tensor.shape[0] == 1:  # DINOv2 writes (1, 1, V) for a token
            tensor = tensor[0]
        fitting[name] = tensor
    wrong = [name for name, tensor in fitting.items() if tensor.shape != own[name].shape]
    if wrong:
        listed = [
            f"  {name}: {tuple(fitting[name].shape)}, expected {tuple(own[name].shape)}" for name in wrong
        ]
        more = [f"  … and {len(wrong) - 4} more"] if len(wrong) > 4 else []
        raise CheckpointError(
            "\n".join([f"{key}={source} has other shapes than the config:", *listed[:4], *more])
            + "\n  set vision.width, vision.mlp, vision.heads and vision.patch to the checkpoint's"
        )
    module.load_state_dict(fitting)


def resize_positions(table_PV: Tensor, grid: int, class_tokens: int, *, antialias: bool) -> Tensor:
    """A checkpoint's position table for `grid` x `grid` patches: bicubic, in float32, as DINOv2 does it."""
    table_PV = table_PV.flatten(0, -2)
    patches = len(table_PV) - class_tokens
    if patches == grid**2:
        return table_PV
    side = round(patches**0.5)
    log.info("resizing the tower's positions from %d x %d to %d x %d", side, side, grid, grid)
    front, square = table_PV[:class_tokens], table_PV[class_tokens:].float()
    image = square.unflatten(0, (side, side)).permute(2, 0, 1)[None]
    resized = F.interpolate(image, size=(grid, grid), mode="bicubic", antialias=antialias)[0]
    return torch.cat([front, resized.permute(1, 2, 0).flatten(0, 1).to(table_PV.dtype)])


def _named(index: Path) -> set[str]:
    """The files that an index of shards names.

    Raises:
        CheckpointError: It is no such index, or names something else than a file of its own folder.
    """
    places = read_json_object(index).get("weight_map")
    names = set(map(str, places.values())) if isinstance(places, dict) else set()
    if not names or any(name in (".", "..") or Path(name).name != name for name in names):
        raise CheckpointError(f"{index} does not name the files of its folder.\n  copy or download it again")
    return names


def _shards(source: str, key: str) -> dict[str, Callable[[], Tensor]]:
    """Each tensor of the checkpoint by name, as a function that reads it."""
    for file in FILES:
        path = _locate(source, file)
        if path is None:
            continue
        if path.suffix != ".json":
            return _tensors(path)
        shards = sorted(_named(path))
        tensors: dict[str, Callable[[], Tensor]] = {}
        for shard in shards:
            part = _locate(source, shard)
            if part is None:
                raise CheckpointError(f"{key}={source} lacks {shard}, which {file} names.")
            tensors |= _tensors(part)
        return tensors
    raise CheckpointError(
        f"{key}={source} is no checkpoint: none of {', '.join(FILES)} is there"
        f"{'' if Path(source).is_dir() else ', nor on the hub or in its cache'}.\n"
        f"  a folder on disk:     {key}=PATH\n"
        f"  a name on the hub:    {key}=google/siglip-so400m-patch14-384  (needs the network once)\n"
        f"  no trained weights:   {key}=random"
    )


def _tensors(path: Path) -> dict[str, Callable[[], Tensor]]:
    """The tensors of one file, each read when it is wanted; no pickle is executed."""
    return {name: stored.read for name, stored in open_file(path).items()}


def _locate(source: str, file: str) -> Path | None:
    """The local path of a checkpoint's file, fetched from the hub if need be; None if there is none."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from huggingface_hub import hf_hub_download  # late: huggingface_hub, for weights from the hub alone
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(hf_hub_download(source, file))
    except (OSError, EntryNotFoundError, HFValidationError):  # absent, offline, private, or no such name
        return None
