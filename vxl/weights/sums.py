"""Checksums of tensors in safetensors files, which the format itself does not have.

They stand in the file's free text (`__metadata__`) as `crc32.NAME`, one for every tensor, and are compared
when a whole tensor is read. Files without them, of others or of earlier releases, are read as they are.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from vxl.errors import CheckpointError

PREFIX = "crc32."


def crc32_of(tensor: Tensor) -> str:
    """CRC-32 of a tensor's bytes, as eight hex digits."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return f"{zlib.crc32(memoryview(flat.view(torch.uint8).numpy())):08x}"


def sums_of(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What a file's free text says about its tensors.

    Example:
        >>> sums_of({"a": torch.zeros(2)})
        {'crc32.a': '6522df69'}
    """
    return {f"{PREFIX}{name}": crc32_of(tensor) for name, tensor in tensors.items()}


def refuse_other_sum(path: Path, name: str, tensor: Tensor, recorded: str | None) -> None:
    """Raises CheckpointError where a tensor is not the one that was written."""
    if recorded is not None and crc32_of(tensor) != recorded:
        raise CheckpointError(
            f"{path} is damaged: {name} is not what was written (its checksum is another).\n"
            "  copy it again, or make it anew"
        )


def load_checked(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU, each compared with its checksum.

    Raises:
        CheckpointError: One of them is damaged.
        SafetensorError, OSError: The file can't be read.
    """
    with safe_open(path, "pt") as file:
        sums = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping
    for name, tensor in tensors.items():
        refuse_other_sum(path, name, tensor, sums.get(f"{PREFIX}{name}"))
    return tensors
