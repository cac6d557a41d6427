"""Reading the headers of a tar: which members stand where, and whether it ends as a tar must."""

import io
import tarfile
from dataclasses import dataclass, field

from vxl.data.source.ranges import Range, describe_file, read_range
from vxl.errors import DataError

BLOCK = 512


@dataclass
class Group:
    """The members of a tar that share a base name (webdataset's rule: up to the first dot of the file
    name)."""

    key: str
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Suffix to (offset of the content, bytes)."""


@dataclass(frozen=True)
class Contents:
    """What a tar holds."""

    groups: list[Group]
    cut_at: int | None
    """Where a tar that was cut off stops making sense; its last group is left out."""


def read_contents(url: str) -> Contents:
    """Reads the headers of a tar, not what is between them.

    Raises:
        DataError: It is no tar (or a compressed one).
    """
    size, _ = describe_file(url)
    if size == 0:
        raise DataError(f"{url} is empty (0 bytes).\n  write it again, or leave it out")
    groups: dict[str, Group] = {}
    last = ""
    cut_at: int | None = None
    file = io.BufferedReader(Range(url, 0, size), buffer_size=64 << 10)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            try:
                while (member := tar.next()) is not None:
                    tar.members = []  # ty: ignore (tarfile would keep them all)
                    if member.offset_data + member.size > size:
                        cut_at = member.offset
                        last, _ = split_name(member.name)
                        break
                    if member.isreg():
                        last, suffix = split_name(member.name)
                        groups.setdefault(last, Group(last)).members[suffix] = (
                            member.offset_data,
                            member.size,
                        )
            except tarfile.TarError:
                cut_at = tar.offset
            if cut_at is None and not _ends_well(url, tar.offset, size):
                cut_at = tar.offset
    except tarfile.TarError as error:
        packed = read_range(url, 0, min(size, 4))
        hint = (
            "\n  uncompress it (gunzip): members of a compressed tar can't be read by offset"
            if (packed[:2] == b"\x1f\x8b" or packed == b"\x28\xb5\x2f\xfd")
            else ""
        )
        raise DataError(f"{url} is no tar that can be read: {error}{hint}") from error
    if cut_at is not None:
        cut_at = min(cut_at, size)
        groups.pop(last, None)
    return Contents(list(groups.values()), cut_at)


def split_name(name: str) -> tuple[str, str]:
    """("folder/key", "0.jpg") of "folder/key.0.jpg"."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    key, _, suffix = file.partition(".")
    return folder + slash + key, suffix


def _ends_well(url: str, offset: int, size: int) -> bool:
    """Whether the end-of-archive mark, a block of zeros, stands where the members end."""
    return offset + BLOCK <= size and read_range(url, offset, BLOCK) == bytes(BLOCK)
