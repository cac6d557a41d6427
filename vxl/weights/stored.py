"""Tensors on disk: what a file holds, read one at a time; and safetensors files written one at a time.

A model may be larger than the memory that is left, so nothing here holds more than one tensor.
"""

import json
import math
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vxl.errors import CheckpointError
from vxl.in_place import HEAD, in_its_place
from vxl.weights.sums import PREFIX, crc32_of, refuse_other_sum

PICKLES = (".bin", ".pth", ".pt")
# The types of the safetensors format.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    file: Path
    read: Callable[[], Tensor]
    read_part: Callable[[tuple[slice, ...]], Tensor] | None = None
    """Reads a part without the rest, where the file's format allows that."""

    def part(self, where: tuple[slice, ...]) -> Tensor:
        """The part of the tensor that slices name."""
        whole = where == tuple(slice(0, size) for size in self.shape)  # a checksum covers a whole tensor
        return self.read()[where] if whole or self.read_part is None else self.read_part(where)

    @property
    def numel(self) -> int:
        """Its elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.numel * self.dtype.itemsize


def open_file(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file or of a pickle that holds nothing else, by name.

    Raises:
        CheckpointError: The file is cut, holds other things than tensors, or would execute code.
    """
    return _open_pickle(path) if path.suffix in PICKLES else _open_safetensors(path)


def _open_safetensors(path: Path) -> dict[str, Stored]:
    tensors = {}
    try:
        with safe_open(path, "pt") as file:
            sums = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118 -- no mapping, it cannot be iterated
                entry = file.get_slice(name)
                code = entry.get_dtype()
                if code not in DTYPES:
                    raise CheckpointError(
                        f"{path}: {name} has the type {code}.\n  expected one of: {', '.join(DTYPES)}"
                    )
                shape = tuple(entry.get_shape())
                # A tensor without axes has no parts.
                part = _part_reader(path, name) if shape else None
                read = _reader(path, name, sums.get(f"{PREFIX}{name}"))
                tensors[name] = Stored(DTYPES[code], shape, path, read, part)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}\n  {_sizes(path)}\n  copy or download it again"
        ) from error
    return tensors


def _reader(path: Path, name: str, recorded: str | None) -> Callable[[], Tensor]:
    def read() -> Tensor:
        with safe_open(path, "pt") as file:
            tensor = file.get_tensor(name)
        refuse_other_sum(path, name, tensor, recorded)
        return tensor

    return read


def _part_reader(path: Path, name: str) -> Callable[[tuple[slice, ...]], Tensor]:
    def read(where: tuple[slice, ...]) -> Tensor:
        with safe_open(path, "pt") as file:
            return file.get_slice(name)[where]

    return read


def _sizes(path: Path) -> str:
    """How long the file is, and how long it should be if its header can be read."""
    length = path.stat().st_size if path.exists() else 0
    if lies := _lies_there(path):
        return f"it has {length:,} bytes{lies}"
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, length)))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return f"expected: {8 + size + max(ends, default=0):,} bytes, got {length:,}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return f"it has {length:,} bytes, and no header that says how many it should have"


def _lies_there(path: Path) -> str:
    """What lies in the file's place, where its beginning shows that."""
    try:
        with path.open("rb") as file:
            return in_its_place(file.read(HEAD))
    except OSError:
        return ""


def _open_pickle(path: Path) -> dict[str, Stored]:
    if lies := _lies_there(path):
        raise CheckpointError(
            f"{path} can't be read: it has {path.stat().st_size:,} bytes{lies}\n  copy or download it again"
        )
    try:
        content = _unpickle(path)
    except pickle.UnpicklingError as error:
        call = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise CheckpointError(
            f"{path} is not a pickle of tensors alone and was not opened, since it could execute code"
            f"{f': it calls {call[1]}' if call else ''}.\n"
            "  expected: a state dict, {name: tensor}\n  save it as safetensors where you trust it:  "
            "safetensors.torch.save_file(state_dict, 'model.safetensors')"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{path} can't be read: {reason}\n  it has {path.stat().st_size:,} bytes\n"
            "  copy or download it again"
        ) from error
    others = [str(name) for name, value in content.items() if not _is_plain(value)]
    if others:
        names = ", ".join(others[:4]) + (", …" if len(others) > 4 else "")
        raise CheckpointError(
            f"{path} holds {len(others)} things that are no tensors: {names}\n"
            "  expected: a state dict, {name: tensor}"
        )
    return {
        str(name): Stored(value.dtype, tuple(value.shape), path, lambda value=value: value)
        for name, value in content.items()
    }


def _is_plain(value: Any) -> bool:
    """Whether a value is a tensor with numbers of its own in it."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta


def _unpickle(path: Path) -> dict[Any, Any]:
    """A pickle's content, mapped and not read where its format allows that."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap can only be used" not in str(error):
            raise
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dict of tensors")
    return content


def metadata_of(path: Path) -> dict[str, str]:
    """The free text in a safetensors file's header; that transformers wants for other files."""
    if path.suffix in PICKLES:
        return {"format": "pt"}

    with safe_open(path, "pt") as file:
        return file.metadata() or {"format": "pt"}


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Stored],
    metadata: Mapping[str, str] | None = None,
    sums: bool = False,
) -> None:
    """Writes a safetensors file tensor by tensor, each bit as it is.

    Args:
        path: The file.
        tensors: By name; each is read once.
        metadata: The free text in its header.
        sums: Whether the free text is to hold a checksum of every tensor.

    Raises:
        CheckpointError: A tensor is of a type that the format does not have.
    """
    wide_first = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)  # so that all are aligned
    header: dict[str, Any] = {"__metadata__": dict(metadata or {"format": "pt"})}
    end = 0
    for name in wide_first:
        tensor = tensors[name]
        if tensor.dtype not in _CODES:
            raise CheckpointError(f"{tensor.file}: {name} is {tensor.dtype}, which safetensors can't hold.")
        start, end = end, end + tensor.bytes
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    if sums:  # known once the tensors were read; of the same length, so that the header can be written again
        header["__metadata__"] |= {f"{PREFIX}{name}": "0" * 8 for name in wide_first}
    with path.open("wb") as file:
        file.write(_header(header))
        for name in wide_first:
            tensor = tensors[name].read().detach().cpu().contiguous()
            file.write(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
            if sums:
                header["__metadata__"][f"{PREFIX}{name}"] = crc32_of(tensor)
        file.seek(0)
        file.write(_header(header))


def _header(entries: Mapping[str, Any]) -> bytes:
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
