"""Reading the headers of a tar: which members stand where, and whether it ends as a tar must."""

import posixpath
import tarfile
from dataclasses import dataclass, field

from vxl.data.source.ranges import FilePart, describe_file, read_range
from vxl.errors import DataError
from vxl.in_place import HEAD, in_its_place
from vxl.video.endings import media_kind

BLOCK = 512

# Files that systems and programs leave beside the user's own; a key can't begin with a dot.
LEFTOVERS = (".", "Thumbs.db", "desktop.ini")

# How files begin that were compressed, and with what they are uncompressed.
PACKED = {
    b"\x1f\x8b": "gunzip",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x04\x22\x4d\x18": "unlz4",
    b"PK\x03\x04": "unzip",
}


@dataclass
class Group:
    """The members of a tar that share a base name (webdataset's rule: up to the first dot of the file
    name). Where a file comes twice, the second begins another sample of the same name."""

    key: str
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Suffix (in lower case) to (offset of the content, bytes)."""
    bad: str | None = None
    """Why it can't be used, where the tar itself says so."""


@dataclass(frozen=True)
class Contents:
    """What a tar holds."""

    groups: list[Group]
    cut_at: int | None
    """Where a tar that was cut off stops making sense; what may miss something is left out."""
    is_whole_to_its_end: bool = False
    """Whether a tar that was cut off ends with a whole member, so that nothing was left out."""


def read_contents(url: str) -> Contents:
    """Reads the headers of a tar, not what is between them. Tars that were joined by `cat` are read in turn.

    Raises:
        DataError: It is no tar (or a compressed one).
    """
    size, _ = describe_file(url)
    if size == 0:
        raise DataError(f"{url} is empty (0 bytes).\n  write it again, or leave it out")
    reading = _Reading()
    start: int | None = 0
    cut_at: int | None = None
    while start is not None and cut_at is None:
        try:
            end, cut_at = _read_archive(url, start, size, reading)
        except tarfile.TarError as error:
            if start:
                cut_at = start  # what stands behind the end mark is no tar
                break
            head = read_range(url, 0, min(size, HEAD))
            packed = next((by for begins, by in PACKED.items() if head.startswith(begins)), None)
            hint = (
                f"\n  uncompress it ({packed}): members of a compressed tar can't be read by offset"
                if packed
                else in_its_place(head)
            )
            raise DataError(f"{url} is no tar that can be read: {error}{hint}") from error
        start = _behind_zeros(url, end, size) if cut_at is None else None
    is_whole = cut_at == size and reading.last_is_whole()  # at the very end, only the mark is missing
    if cut_at is not None:
        if not is_whole:
            reading.drop_last()
        cut_at = min(cut_at, size)
    return Contents(reading.groups, cut_at, is_whole)


def split_name(name: str) -> tuple[str, str]:
    """("folder/key", "0.jpg") of "folder/key.0.jpg"."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    key, _, suffix = file.partition(".")
    return folder + slash + key, suffix


class _Reading:
    """The groups found so far."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.newest: dict[str, Group] = {}
        self.last = ""
        self.places: dict[str, tuple[int, int]] = {}

    def add(self, member: tarfile.TarInfo, start: int) -> None:
        """Takes a member in; `start` is where its archive begins."""
        file = member.name.rpartition("/")[2]
        is_file = member.isreg() or member.issym() or member.islnk()
        if file.startswith(LEFTOVERS) or not (is_file or media_kind(file)):
            return
        key, suffix = split_name(member.name)
        suffix = suffix.lower()
        group = self.newest.get(key)
        if group is None or suffix in group.members:
            group = self.newest[key] = Group(key)
            self.groups.append(group)
        self.last = key
        place: tuple[int, int] | None = (start + member.offset_data, member.size)
        if member.issym() or member.islnk():
            near = posixpath.join(posixpath.dirname(member.name), member.linkname) if member.issym() else None
            place = self.places.get(posixpath.normpath(near or member.linkname))
            if place is None:
                group.bad = (
                    f"member '{member.name}' is a link to {member.linkname}, which the tar does not hold"
                )
        elif not is_file:
            group.bad = f"member '{member.name}' is a folder, a pipe or a device, and no file"
        elif member.issparse():
            group.bad = (
                f"member '{member.name}' is written with holes (sparse), which can't be read by offset"
            )
        group.members[suffix] = place or (0, 0)
        if place is not None:
            self.places[posixpath.normpath(member.name)] = place

    def drop_last(self) -> None:
        """Leaves out the group of the last member, which may miss something."""
        group = self.newest.get(self.last)
        if group is not None:
            self.groups.remove(group)

    def last_is_whole(self) -> bool:
        """Whether the last group has its text, which is written last."""
        group = self.newest.get(self.last)
        return group is not None and bool({"json", "txt"} & set(group.members))


def _read_archive(url: str, start: int, size: int, reading: _Reading) -> tuple[int, int | None]:
    """Reads one archive of a file; (where it ends, where it was cut off)."""
    with (
        FilePart(url, start, size - start).open(64 << 10) as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        try:
            while (member := tar.next()) is not None:
                tar.members = []  # ty: ignore (tarfile would keep them all)
                stored = tar.offset - BLOCK if member.issparse() else member.offset_data + member.size
                if start + stored > size:
                    reading.last, _ = split_name(member.name)
                    return 0, start + member.offset
                reading.add(member, start)
        except tarfile.TarError:
            return 0, start + tar.offset
        end = start + tar.offset
    return end, None if _ends_well(url, end, size) else end


def _ends_well(url: str, offset: int, size: int) -> bool:
    """Whether the end-of-archive mark, a block of zeros, stands where the members end."""
    return offset + BLOCK <= size and read_range(url, offset, BLOCK) == bytes(BLOCK)


def _behind_zeros(url: str, offset: int, size: int) -> int | None:
    """Where blocks of zeros end and something else begins; None for the end of the file."""
    while offset + BLOCK <= size:
        block = read_range(url, offset, min(size - offset, 64 * BLOCK))
        for at in range(0, len(block) - BLOCK + 1, BLOCK):
            if any(block[at : at + BLOCK]):
                return offset + at
        offset += len(block)
    return None
