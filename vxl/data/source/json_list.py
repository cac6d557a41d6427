"""A JSON list in the family's format and a folder of media, as a source: training without shards."""

import json
import logging
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxl.data.sample import EXAMPLE, Media
from vxl.data.source.headers import Probes, file_stamp, write_cache
from vxl.data.source.index import Index, encode_index, index_places, read_tar_index, say_text_alone
from vxl.data.source.named import key_of_item, media_of_item, rate_of_frames
from vxl.data.source.ranges import describe_file
from vxl.data.source.source import IndexedSource
from vxl.data.source.texts import in_order_of_text, refuse_spoilt
from vxl.errors import DataError
from vxl.in_place import HEAD, in_its_place
from vxl.json_text import parse_json
from vxl.patience import is_folder, is_there, read_patiently

if TYPE_CHECKING:  # late: torch takes 2 s, and writing shards needs none of it
    from vxl.video.virtual import Virtual

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
        size, change_time = describe_file(of)
        folder = blake2b(str(videos.resolve()).encode(), digest_size=6).hexdigest()
        stamp = (size, f"{change_time} {folder}")
        place = index_places(of, cache)[-1]
        index = read_tar_index(of, place, stamp)
        # A file that was missing may be there by now, and one that was there may have been replaced.
        if index is None or index.bad or self._changed(index):
            index = self._write_index(file, cache, place, stamp)
        super().__init__(of, [index], some=some)

    def _changed(self, index: Index) -> str | None:
        """The first media file that is not the one that was indexed."""
        for number in range(len(index.firsts) - 1):
            try:
                visuals = index.entry(number)["visuals"]
            except DataError:  # the index is damaged
                return index.file
            for visual in visuals:
                path = visual.get("path", "")
                try:
                    if file_stamp(self.videos / path) != visual.get("stamp"):
                        return path
                except DataError:
                    return path
        return None

    def _write_index(self, file: Path, cache: Path, place: str, stamp: tuple[int, str]) -> Index:
        items = read_items(file)
        probes = Probes(self.videos, cache)
        try:
            entries = list(self._entries(items, str(file), probes))
        finally:
            probes.save()
        paths = [path for item in items for path in _named(item)]
        if paths and not any(is_there(self.videos / path) for path in paths):
            raise DataError(
                f"none of the {len(paths)} files that {file} names exist in {self.videos}.\n"
                f"  the first one looked for: {(self.videos / paths[0]).absolute()}\n"
                "  name the folder that the paths start in:  data.videos=FOLDER"
                "  (in training; of vxl shards:  --videos FOLDER)"
            )
        say_text_alone(entries, str(file))
        write_cache(Path(place), encode_index(entries, str(file), stamp, None))
        index = read_tar_index(str(file), place, stamp)
        assert index is not None
        return index

    def _entries(self, items: list[dict[str, Any]], file: str, probes: Probes) -> Iterator[dict[str, Any]]:
        last_message = time.monotonic()
        for number, item in enumerate(items):
            entry: dict[str, Any] = {
                "key": key_of_item(item, number),
                "text": item,
                "visuals": [],
                "bad": None,
            }
            try:
                refuse_spoilt(item, "its text")
                visuals = [
                    {"kind": kind, "name": path, "path": path, **self._header(item, probes.ask(path, kind))}
                    for path, kind in media_of_item(item)
                ]
                entry["visuals"] = in_order_of_text(visuals, item)
            except DataError as error:
                entry["bad"] = f"{file}, item '{entry['key']}': {error}"
            if time.monotonic() - last_message > 10:
                last_message = time.monotonic()
                probes.save()
                log.info("reading the headers of the media: %d of %d items", number + 1, len(items))
            yield entry

    @staticmethod
    def _header(item: dict[str, Any], header: dict[str, Any]) -> dict[str, Any]:
        """A header's fields; of a folder of frames with the rate that the item gives it."""
        if header["fps"]:
            return header
        fps = rate_of_frames(item)
        return {**header, "fps": fps, "seconds": round(header["frames"] / fps, 3)}

    def _open(self, index: Index, visual: dict[str, Any]) -> "Media | Virtual":
        path = self.videos / visual["path"]
        if not is_there(path):
            raise DataError(
                f"{path} does not exist any more.\n  put it back, or take its item out of {index.of}"
            )
        if file_stamp(path) != visual["stamp"]:
            raise DataError(
                f"{path} was replaced after {index.of} was indexed.\n  start again: it is indexed anew"
            )
        if is_folder(path):
            from vxl.video.virtual import FrameFolder  # late: torch takes 2 s, most rows have none

            return FrameFolder(path, visual["fps"])
        return str(path)


def read_items(file: Path) -> list[dict[str, Any]]:
    """The items of a JSON list, or of JSON lines.

    Raises:
        DataError: It is something else; names the place.
    """
    try:
        text = read_patiently(file).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read: {error}\n  expected: JSON in UTF-8") from error
    items = _lines(text, file) if file.suffix.lower() == ".jsonl" else _whole(text, file)
    if not isinstance(items, list):
        raise DataError(f"{file} is {json_kind(items)}, not a list of objects.\n  write e.g.  [{EXAMPLE}]")
    other = next((number for number, item in enumerate(items) if not isinstance(item, dict)), None)
    if other is not None:
        raise DataError(
            f"{file}: item {other + 1} of {len(items)} is {json_kind(items[other])}, not an object.\n"
            f"  write e.g.  [{EXAMPLE}]"
        )
    if not items:
        raise DataError(f"{file} is an empty list.\n  write e.g.  [{EXAMPLE}]")
    return items


def _whole(text: str, file: Path) -> Any:
    """One value of JSON; or JSON lines under the ending of a list, as many tools write them."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        first = text.lstrip()[:1]
        if getattr(error, "msg", "") == "Extra data" and first == "{":
            return _lines(text, file)
        lies = in_its_place(text[:HEAD].encode())
        raise DataError(f"{file} is no JSON: {error}{lies}") from error


def _lines(text: str, file: Path) -> list[Any]:
    """A value a line."""
    values = []
    for number, line in enumerate(text.split("\n"), 1):  # strings may hold the separators of splitlines()
        if line.strip():
            try:
                values.append(parse_json(line))
            except (ValueError, RecursionError) as error:
                is_placed = isinstance(error, json.JSONDecodeError)  # "line 1" of the line, it would say
                what = f"{error.msg}: column {error.colno}" if is_placed else error
                raise DataError(f"{file}, line {number}, is no JSON: {what}") from error
    return values


def json_kind(value: Any) -> str:
    """What a value is called in JSON."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds = {dict: "an object", list: "a list", str: "a string"}
    return kinds.get(type(value), "a number")


def _named(item: dict[str, Any]) -> list[str]:
    try:
        return [path for path, _ in media_of_item(item)]
    except DataError:
        return []
