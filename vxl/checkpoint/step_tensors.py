"""The tensors of a checkpoint folder (torch.distributed.checkpoint), read without executing anything.

The format has two weak places, both mended here. Its index, `.metadata`, is a pickle: it is read by an
unpickler that knows the few classes an index needs. And torch does not compare the checksums (CRC-32, from
the zip format) that stand beside every tensor: they are compared for whatever is read.
"""

import io
import json
import pickle
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import metadata as dcp_metadata
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner
from torch.futures import Future

from vxl.checkpoint.step_sums import (
    INDEX,
    REST,
    SUMS,
    compare_sums,
    damaged,
    read_place,
    refuse_damaged,
    refuse_damaged_tensors,
)
from vxl.errors import LostError, VxlError
from vxl.patience import read_patiently
from vxl.weights.stored import Stored

# Everything that the index of a checkpoint is made of, beside numbers, texts, lists and dicts.
_ALLOWED = {
    ("torch.distributed.checkpoint.metadata", "Metadata"),
    ("torch.distributed.checkpoint.metadata", "MetadataIndex"),
    ("torch.distributed.checkpoint.metadata", "TensorStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "TensorProperties"),
    ("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "StorageMeta"),
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("collections", "OrderedDict"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),  # as Python 3.13 calls it
}


class IndexUnpickler(pickle.Unpickler):
    """Reads the pickle of a checkpoint's index; any class that an index does not need is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """The class, or a number type of torch."""
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise pickle.UnpicklingError(f"it calls {module}.{name}, which the index of a checkpoint never does")


class StepReader(dcp.FileSystemReader):
    """torch's reader with an index that can't execute code and with checksums compared.

    Args:
        folder: The checkpoint folder.
        verified: Whether its checksums have been compared already.
        index: The index, where it has been read already.
    """

    folder: Path

    def __init__(self, folder: Path, verified: bool = False, index: Metadata | None = None) -> None:
        super().__init__(folder)
        self.folder, self.verified, self.index = folder, verified, index
        self._names: dict[tuple[str, int], str] = {}
        self._place: tuple[str, int] | None = None
        self._bytes = io.BytesIO()

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index.

        Raises:
            CheckpointError: It is damaged, or would execute code, or names files outside the folder.
        """
        index = self.index or read_step_index(self.folder)
        if index.storage_meta is None:
            index.storage_meta = dcp_metadata.StorageMeta()
        index.storage_meta.load_id = self.load_id
        return index

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Reads what a plan wants; of every tensor the bytes that are read are those that are compared.

        Raises:
            CheckpointError: A tensor is not what was written.
        """
        for item in plan.items:
            place: _StorageInfo = self.storage_data[item.storage_index]
            self._names[place.relative_path, place.offset] = item.storage_index.fqn
        return super().read_data(plan, planner)

    def _slice_file(self, file: IO[bytes], sinfo: _StorageInfo) -> IO[bytes]:
        """A stored tensor in memory, read once for all the items of a plan that follow each other in it."""
        place = sinfo.relative_path, sinfo.offset
        if self._place != place:
            self._place, self._bytes = place, io.BytesIO(read_place(self.folder / place[0], sinfo))
            if not self.verified:
                refuse_damaged(self._bytes, self.folder / place[0], self._names[place])
        self._bytes.seek(0)
        return self._bytes


def write_tensors(folder: Path, tensors: dict[str, Any], peers: Any) -> None:
    """Writes a nested dict of tensors; of sharded ones each process writes its part.

    Raises:
        OSError: The disk does not take it.
    """
    try:
        with warnings.catch_warnings():  # torch announces that one process writes alone
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            writer = dcp.FileSystemWriter(folder)
            dcp.save(tensors, storage_writer=writer, process_group=peers, no_dist=peers is None)
    except (RuntimeError, dcp.CheckpointException) as error:
        cause = _os_error(error)
        if cause is None:
            raise
        raise cause from error


def write_rest(folder: Path, rest: dict[str, Any]) -> None:
    """Writes everything but the tensors, and then how long every file is, with the SHA-256 of the index.

    The other files hold checksums of their own, which `refuse_damaged` compares.

    Raises:
        OSError: The disk does not take it.
    """
    try:
        torch.save(rest, folder / REST)
    except RuntimeError as error:
        cause = _os_error(error)
        if cause is None:
            raise
        raise cause from error
    sums: dict[str, dict[str, Any]] = {
        file.name: {"bytes": file.stat().st_size} for file in sorted(folder.iterdir())
    }
    sums[INDEX]["sha256"] = sha256((folder / INDEX).read_bytes()).hexdigest()
    (folder / SUMS).write_text(json.dumps(sums, indent=1) + "\n")


def read_step_index(folder: Path) -> Metadata:
    """The index of a checkpoint folder.

    Raises:
        CheckpointError: It is damaged, or would execute code, or names files outside the folder.
    """
    compare_sums(folder)
    try:
        index = IndexUnpickler(io.BytesIO(read_patiently(folder / INDEX))).load()
        if not isinstance(index, Metadata):
            raise pickle.UnpicklingError(f"it holds a {type(index).__name__}")
        for name, entry in index.state_dict_metadata.items():
            if not isinstance(entry, TensorStorageMetadata):  # torch would unpickle it
                raise pickle.UnpicklingError(f"{name} is no tensor")
        for place in index.storage_data.values():
            if Path(place.relative_path).name != place.relative_path or place.transform_descriptors:
                raise pickle.UnpicklingError(f"it names {place.relative_path!r}, which is outside the folder")
    except LostError:
        raise
    except Exception as error:  # a garbled pickle raises whatever its bytes happen to mean
        raise damaged(folder / INDEX, error) from error
    return index


def outline(folder: Path) -> dict[str, Tensor]:
    """The names of a folder's tensors, each with an empty one of its shape and type (on the meta device)."""
    return _outline(read_step_index(folder))


def _outline(index: Metadata) -> dict[str, Tensor]:
    entries = cast("dict[str, TensorStorageMetadata]", index.state_dict_metadata)
    return {
        name: torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")
        for name, entry in entries.items()
    }


def open_tensors(folder: Path) -> dict[str, Stored]:
    """The tensors of a folder, each to be read when it is wanted; the index is read once for all of them."""
    index = read_step_index(folder)
    return {
        name: Stored(like.dtype, tuple(like.shape), folder, _reader_of(folder, name, like, index))
        for name, like in _outline(index).items()
    }


def read_tensors(
    folder: Path,
    tensors: dict[str, Any],
    no_dist: bool = True,
    verified: bool = False,
    index: Metadata | None = None,
) -> None:
    """Fills a nested dict of tensors in place.

    Args:
        folder: The checkpoint folder.
        tensors: Of sharded ones each process reads its part.
        no_dist: Whether this process reads alone.
        verified: Whether `verify` has compared the checksums: they are not compared again.
        index: The folder's index, where it has been read already.

    Raises:
        CheckpointError: One of them is not in the folder, has another shape, or is damaged.
    """
    try:
        with warnings.catch_warnings():  # torch announces that one process reads alone
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load(tensors, storage_reader=StepReader(folder, verified, index), no_dist=no_dist)
    except dcp.CheckpointException as error:  # {rank: (error, its traceback)}
        for failure, _ in error.failures.values():
            if isinstance(failure, VxlError):
                raise failure from error
        raise damaged(folder, str(error).strip().splitlines()[-1]) from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise damaged(folder, error) from error


def read_rest(folder: Path) -> dict[str, Any]:
    """What a checkpoint holds beside tensors.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    file = folder / REST
    try:
        data = io.BytesIO(read_patiently(file))
        refuse_damaged(data, file, "")
        data.seek(0)
        return torch.load(data, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise damaged(file, error) from error


def verify(folder: Path) -> None:
    """Compares every checksum of a folder.

    Raises:
        CheckpointError: A file is missing, or not what was written.
        LostError: The disk did not answer for `data.patience` seconds.
    """
    places: dict[str, list[tuple[_StorageInfo, str]]] = {}
    for index, place in read_step_index(folder).storage_data.items():
        places.setdefault(place.relative_path, []).append((place, index.fqn))
    for name, places_of_file in places.items():
        refuse_damaged_tensors(folder / name, places_of_file)
    read_rest(folder)


def _reader_of(folder: Path, name: str, like: Tensor, index: Metadata) -> Callable[[], Tensor]:
    def read() -> Tensor:
        tensor = torch.empty(like.shape, dtype=like.dtype)
        read_tensors(folder, {name: tensor}, index=index)
        return tensor

    return read


def _os_error(error: BaseException) -> OSError | None:
    """The OSError inside an error: torch.distributed.checkpoint wraps those of its writers."""
    if isinstance(error, OSError):
        return error
    # A CheckpointException holds {rank: (error, its traceback)}.
    inner = (
        list(getattr(error, "failures", {}).values()) if isinstance(error, dcp.CheckpointException) else []
    )
    causes = [failure[0] for failure in inner] + [error.__cause__, error.__context__]
    return next((inside for cause in causes if cause is not None and (inside := _os_error(cause))), None)
