"""A JSON list in the family's format and a folder of media, as a source: training without shards."""

import json
import logging
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vxl.atomic import write_file
from vxl.data.sample import EXAMPLE, Media
from vxl.data.source.headers import Probes
from vxl.data.source.index import Index, encode, places, read_index
from vxl.data.source.ranges import describe_file
from vxl.data.source.source import IndexedSource
from vxl.errors import DataError

log = logging.getLogger(__name__)


class JsonSource(IndexedSource):
    """Items `{"id", "video" or "image": path or [paths], "conversations" | "caption" | "questions", ...}`.

    Headers of the media are asked once and kept in the cache; so is the index of the list.

    Args:
        file: A JSON list, or JSON lines (.jsonl).
        videos: The folder that the items' paths start in.
        cache: `paths.cache`.
        some: Whether at least one item must be usable.

    Raises:
        DataError: The file is no such list, none of the media exist, or no item can be used.
    """

    def __init__(self, file: Path, videos: Path, *, cache: Path, some: bool = True) -> None:
        self.videos = videos
        of = str(file)
        size, changed = describe_file(of)
        folder = blake2b(str(videos.resolve()).encode(), digest_size=6).hexdigest()
        stamp = (size, f"{changed} {folder}")
        place = places(of, cache)[-1]
        index = read_index(of, place, stamp)
        # A file that was missing may be there by now: only an index without bad items is taken as it is.
        if index is None or index.bad:
            index = self._write_index(file, cache, place, stamp)
        super().__init__(of, [index], some=some)

    def _write_index(self, file: Path, cache: Path, place: str, stamp: tuple[int, str]) -> Index:
        items = read_items(file)
        probes = Probes(self.videos, cache)
        try:
            entries = list(self._entries(items, probes))
        finally:
            probes.save()
        named = [path for item in items for path, _ in media_of(item)]
        if named and not any((self.videos / path).exists() for path in named):
            raise DataError(
                f"none of the {len(named)} files that {file} names exist in {self.videos}.\n"
                f"  the first one looked for: {(self.videos / named[0]).absolute()}\n"
                "  name the folder that the paths start in:  data.videos=FOLDER"
            )
        write_file(Path(place), encode(entries, str(file), stamp, None))
        index = read_index(str(file), place, stamp)
        assert index is not None
        return index

    def _entries(self, items: list[dict[str, Any]], probes: Probes) -> Iterator[dict[str, Any]]:
        said = time.monotonic()
        for number, item in enumerate(items):
            entry: dict[str, Any] = {"key": key_of(item, number), "text": item, "visuals": [], "bad": None}
            try:
                for path, kind in media_of(item):
                    entry["visuals"].append(
                        {"kind": kind, "name": path, "path": path, **probes.ask(path, kind)}
                    )
            except DataError as error:
                entry["bad"] = str(error)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                probes.save()
                log.info("reading the headers of the media: %d of %d items", number + 1, len(items))
            yield entry

    def _open(self, index: Index, visual: dict[str, Any]) -> Media:
        path = self.videos / visual["path"]
        if not path.exists():
            raise DataError(
                f"{path} does not exist any more.\n  put it back, or take its item out of {index.of}"
            )
        return str(path)


def read_items(file: Path) -> list[dict[str, Any]]:
    """The items of a JSON list or of JSON lines.

    Raises:
        DataError: It is something else; names the place.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read: {error}") from error
    try:
        items = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if file.suffix == ".jsonl"
            else json.loads(text)
        )
    except json.JSONDecodeError as error:
        hint = "\n  JSON lines belong in a file that ends in .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{file} is no JSON: {error}{hint}") from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(
            f"{file} is a {type(items).__name__}, not a list of objects.\n  write e.g.  [{EXAMPLE}]"
        )
    if not items:
        raise DataError(f"{file} is an empty list.\n  write e.g.  [{EXAMPLE}]")
    return items


def key_of(item: dict[str, Any], number: int) -> str:
    """An item's name: its `id`, else one made of its number."""
    return str(item.get("id") or f"item-{number}")


def media_of(item: dict[str, Any]) -> list[tuple[str, str]]:
    """(path, kind) of an item's media, images before videos; each may be one path or a list."""
    found = []
    for kind in ("image", "video"):
        paths = item.get(kind) or []
        found += [(str(path), kind) for path in ([paths] if isinstance(paths, str) else paths)]
    return found
