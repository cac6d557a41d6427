"""Writing shards: tars of a limited size, all of a set or none, the same bytes for the same samples."""

import contextlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from vxl.atomic import part_folder, remove_leftovers, sync, sync_tree, write_text
from vxl.data.source.json_list import read_items
from vxl.data.source.named import MEDIA_KEYS, key_of_item, media_of_item, rate_of_frames
from vxl.data.source.tar import BLOCK, LEFTOVERS
from vxl.data.source.texts import in_order_of_text, refuse_spoilt
from vxl.data.source.urls import UNFINISHED
from vxl.data.write.content import Content, FramesToEncode, encoded, open_content, size_of
from vxl.errors import DataError
from vxl.video.endings import media_kind

PATTERN = "shard-{:06d}.tar"
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class TarMember:
    """What one sample of a shard is written from: its key, and its files by suffix (`mp4`, `0.jpg`,
    `json`)."""

    key: str
    files: Mapping[str, Content]
    bad: str | None = None
    """Why it can't be written, where that is known already."""


class ShardWriter:
    """Writes members into tars.

    The tars lie in a temporary folder until all of them are complete; those that they replace stay until
    then. Times and owners are 0, so equal members give equal bytes.

    Args:
        folder: Made if it is not there.
        pattern: Names of the tars, with a place for the number.
        max_bytes: A tar that would grow beyond is closed first. A member alone may be larger.
        overwrite: Whether tars of that pattern may be there already; they are replaced, and surplus ones
            removed.

    Raises:
        DataError: There are such tars already.
    """

    def __init__(
        self, folder: Path, pattern: str = PATTERN, max_bytes: int = MAX_BYTES, *, overwrite: bool = False
    ) -> None:
        self.folder, self.pattern, self.max_bytes = folder, pattern, max_bytes
        try:
            has_place = pattern.format(0) != pattern.format(1)
        except (ValueError, LookupError):  # braces of something else
            has_place = False
        if not has_place:
            raise DataError(f"the pattern {pattern!r} has no place for a number.\n  write e.g.  {PATTERN}")
        self.before = existing(folder, pattern)
        whole = not (self._path_of(0).parent / UNFINISHED).exists()
        if self.before and whole and not overwrite:
            raise DataError(
                f"{folder} holds shards already, {self.before[0].name} first.\n"
                "  name another folder, or replace them:  --overwrite"
            )
        self.written: list[Path] = []
        self._keys: set[str] = set()
        self._tar: tarfile.TarFile | None = None
        self._part: Path | None = None
        self._set = contextlib.ExitStack()
        """The temporary folder, which goes at the end."""

    def write(self, key: str, files: Mapping[str, Content]) -> None:
        """Adds a member.

        Args:
            key: Its name; may have folders (`a/b`), but no dot (what follows the first dot is the suffix).
            files: Its files by suffix.

        Raises:
            DataError: The key can't be used, or a file can't be read.
        """
        if not key or "." in key.rpartition("/")[2] or key.startswith("/"):
            raise DataError(
                f"a shard can't have the key {key!r}.\n  write a name without dots, not starting with /"
            )
        if key in self._keys:
            raise DataError(f"the key {key!r} comes twice.\n  give every sample a name of its own")
        self._keys.add(key)
        files = {
            suffix: encoded(content) if isinstance(content, FramesToEncode) else content
            for suffix, content in files.items()
        }
        sizes = {suffix: size_of(content) for suffix, content in files.items()}
        length = sum(BLOCK + -(-size // BLOCK) * BLOCK for size in sizes.values())
        if self._tar is not None and self._tar.offset > 0 and self._tar.offset + length > self.max_bytes:
            self._finish()
        tar = self._tar or self._begin()
        for suffix, content in files.items():
            info = tarfile.TarInfo(f"{key}.{suffix}")
            info.size = sizes[suffix]
            with open_content(content) as file:
                tar.addfile(info, file)

    def close(self) -> list[Path]:
        """Completes the last tar and returns all of them."""
        self._finish()
        with self._set:
            self._take_the_place()
        return self.written

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._set.__exit__(kind, error, trace)

    def _path_of(self, number: int) -> Path:
        return self.folder / self.pattern.format(number)

    def _begin(self) -> tarfile.TarFile:
        if self._part is None:
            remove_leftovers(self.folder)
            self._part = self._set.enter_context(part_folder(self.folder / "shards"))
        path = self._part / self._path_of(len(self.written)).relative_to(self.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 -- closed by _finish
        return self._tar

    def _finish(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        self._tar = None
        self.written.append(self._path_of(len(self.written)))

    def _take_the_place(self) -> None:
        """Moves the new tars to their names and removes surplus ones; a mark stands there meanwhile."""
        if self._part is not None:
            sync_tree(self._part)
        folders = {path.parent for path in (*self.written, *self.before)}
        for folder in folders:
            write_text(folder / UNFINISHED, f"{self.pattern}\n")
        for path in self.written:
            assert self._part is not None
            (self._part / path.relative_to(self.folder)).replace(path)
        for path in self.before[len(self.written) :][::-1]:  # from the end, so that none behind a gap is lost
            path.unlink()
            path.with_name(path.name + ".index").unlink(missing_ok=True)
        for folder in folders:
            sync(folder)
            (folder / UNFINISHED).unlink()
            sync(folder)


def write_shards(
    members: Iterable[TarMember],
    folder: Path,
    pattern: str = PATTERN,
    max_bytes: int = MAX_BYTES,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Writes members into tars and returns these, see ShardWriter."""
    with ShardWriter(folder, pattern, max_bytes, overwrite=overwrite) as writer:
        for member in members:
            writer.write(member.key, member.files)
    return writer.written


def existing(folder: Path, pattern: str) -> list[Path]:
    """The tars of a pattern that are in a folder, from number 0 on."""
    tars: list[Path] = []
    while (path := folder / pattern.format(len(tars))).exists():
        tars.append(path)
    return tars


def members_of_folder(folder: Path) -> Iterator[TarMember]:
    """Members of the files below a folder that share a name: media, and .json or .txt.

    Raises:
        DataError: There is no such folder, or nothing to take.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder.\n  name one that holds KEY.mp4 and KEY.json files")
    paths = [path for path in sorted(folder.rglob("*")) if not _is_leftover(path.relative_to(folder))]
    paths = [path for path in paths if media_kind(path.name) or not path.is_dir()]
    texts = {path.relative_to(folder).with_suffix("") for path in paths if _is_text(path)}
    groups: dict[str, dict[str, Content]] = {}
    others: dict[str, Path] = {}
    for path in paths:
        suffix, stem = path.suffix[1:].lower(), path.relative_to(folder).with_suffix("")
        base, dot, number = stem.name.rpartition(".")
        name = str(stem)
        # KEY.0.jpg and KEY.1.jpg are two visuals of KEY; ep.1.mp4 beside ep.1.json is a sample of its own.
        if dot and number.isdigit() and stem not in texts:
            name, suffix = str(stem.with_name(base)), f"{number}.{suffix}"
        if path.is_file() and (media_kind(path.name) is not None or _is_text(path)):
            groups.setdefault(name, {})[suffix] = path
        else:
            others[name] = path
    if not groups:
        raise DataError(f"{folder} holds no videos, images, .json or .txt files.\n  name another folder")
    for name, files in groups.items():
        has_media = any(media_kind(f".{suffix}") for suffix in files)
        bad = None
        if not has_media and name in others:
            bad = f"{others[name]} can't be shown, and '{name}' shows nothing else.\n  " + (
                "give it the ending of a video or an image, or take it out"
                if others[name].is_file()
                else "it is no file: a folder, or a link to nothing"
            )
        yield TarMember(clean(name), files, bad)


def _is_text(path: Path) -> bool:
    return path.suffix[1:].lower() in ("json", "txt")


def _is_leftover(path: Path) -> bool:
    """Of a path within the folder: what hides, and what is in folders that do."""
    return any(part.startswith((*LEFTOVERS, "__MACOSX")) for part in path.parts)


def members_of_json(file: Path, videos: Path) -> Iterator[TarMember]:
    """Members of a JSON list in the family's format; the media are copied from the folder `videos`."""
    for number, item in enumerate(read_items(file)):
        key = clean(key_of_item(item, number))
        try:
            refuse_spoilt(item, "its text")
            places = [{"path": path, "kind": kind} for path, kind in media_of_item(item)]
            media = in_order_of_text(places, item)
        except DataError as error:
            yield TarMember(key, {}, f"{file}, item '{key}': {error}")
            continue
        files: dict[str, Content] = {}
        left_out = set(MEDIA_KEYS)
        for place, visual in enumerate(media):
            path = videos / visual["path"]
            if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(videos)):
                yield TarMember(key, {}, f"{file}, item '{key}': {_leads_out(visual['path'], videos)}")
                break
            # In a tar the ending alone tells what a file is.
            suffix = path.suffix[1:].lower()
            ending = suffix if media_kind(f".{suffix}") == visual["kind"] else visual["kind"]
            content: Content = path
            if visual["kind"] == "video" and _is_folder(path):
                try:
                    content, ending = FramesToEncode(path, rate_of_frames(item)), "mp4"
                except DataError as error:
                    yield TarMember(key, {}, f"{file}, item '{key}': {error}")
                    break
                left_out.add("fps")  # the video says it
            files[ending if len(media) == 1 else f"{place}.{ending}"] = content
        else:
            text = {name: value for name, value in item.items() if name not in left_out}
            yield TarMember(key, {**files, "json": text})


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        return path.is_dir()
    return False


def _leads_out(path: str, videos: Path) -> str:
    """A list may come from a stranger, and what is packed is handed on."""
    return (
        f"{path!r} lies outside {videos}, and is not packed.\n"
        "  if it is meant, name a folder that holds all media:  --videos FOLDER"
    )


def clean(key: str) -> str:
    """A key without dots, which would end it."""
    return key.replace(".", "_").lstrip("/")
