"""The sidecar index: what a tar (or a JSON list) holds, so that samples are found without reading it.

`NAME.tar.index` is lines of JSON. The first one is about the whole: what it is the index of (size and time of
change), the samples of each member and the length of each line that follows. Then a line a member: key, text,
and for each visual its place and what its header says. It is written beside the tar, else into the cache.
"""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vxl.atomic import write_file
from vxl.data.sample import TEXTS
from vxl.data.source.entry import is_entry, samples_of
from vxl.data.source.headers import write_cache
from vxl.data.source.member import describe_member
from vxl.data.source.ranges import describe_file, is_url, local, open_range, read_range
from vxl.data.source.tar import Group, read_contents
from vxl.data.source.texts import refuse_long_text, without_half_letters
from vxl.errors import DataError
from vxl.patience import open_patiently
from vxl.video.endings import media_kind

log = logging.getLogger(__name__)

FORMAT = 5
# What an index keeps of the JSON: other keys (img2dataset writes a dozen) say nothing to training.
KEPT = (*TEXTS, "segments", "source", "scale", "start", "end")


class Index:
    """An index that was read: samples by number.

    Args:
        of: The tar or JSON list.
        file: The index itself.
        head: Its first line.
        start: Where its second line begins.
    """

    def __init__(self, of: str, file: str, head: dict[str, Any], start: int) -> None:
        self.of, self.file = of, file
        self.cut_at: int | None = head["cut_at"]
        self.bad: list[int] = head["bad"]
        self.content: str = head["content"]
        self.firsts = np.cumsum([0, *head["samples"]], dtype=np.int64)
        self.offsets = np.cumsum([start, *head["lines"]], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def locate(self, number: int) -> tuple[int, int]:
        """(member, sample of that member) of sample `number`."""
        member = int(np.searchsorted(self.firsts, number, side="right")) - 1
        return member, number - int(self.firsts[member])

    def entry(self, member: int) -> dict[str, Any]:
        """The line of a member."""
        start, stop = int(self.offsets[member]), int(self.offsets[member + 1])
        try:
            entry = json.loads(read_range(self.file, start, stop - start))
        except (ValueError, RecursionError) as error:
            raise DataError(self._damaged(member)) from error
        if not is_entry(entry):
            raise DataError(self._damaged(member))
        return entry

    def _damaged(self, member: int) -> str:
        return f"{self.file} is damaged, at member {member}.\n  it is made anew without it:  rm {self.file}"


def open_index(url: str, cache: Path) -> Index:
    """The index of a tar: the one that is there if it fits the tar, else a new one.

    Raises:
        DataError: The tar is cut off (names the offset, the last whole member and the remedy), or can't be
            read.
    """
    stamp = describe_file(url)
    for file in index_places(url, cache):
        index = read_tar_index(url, file, stamp)
        if index is not None:
            if index.cut_at is not None:
                log.warning("%s is cut off at byte %d; its whole members are used", url, index.cut_at)
            return index
    return write_index(url, cache)


def write_index(url: str, cache: Path, *, keep_good: bool = False) -> Index:
    """Indexes a tar.

    Args:
        url: The tar.
        cache: `paths.cache`, for an index that can't be written beside the tar.
        keep_good: Whether to go on with the whole members of a tar that is cut off, from now on.

    Raises:
        DataError: As `open_index`.
    """
    stamp = describe_file(url)
    contents = read_contents(url)
    if contents.cut_at is not None and not keep_good:
        groups = contents.groups
        whole = f"the last whole member is '{groups[-1].key}'" if groups else "no member is whole"
        if contents.is_whole_to_its_end:
            whole += "; only the mark at its end is missing, or it was cut between two members"
        raise DataError(
            f"{url} is cut off: it has {stamp[0]} bytes and breaks at byte {contents.cut_at}; {whole}.\n"
            f"  copy it again, or use its {len(groups)} whole members:\n"
            f"    vxl shards index --keep-good {url}"
        )
    groups = [group for group in contents.groups if group.bad or _is_sample(group)]
    if strays := [group for group in contents.groups if group not in groups]:
        names = f"{strays[0].key}.{next(iter(strays[0].members))}"
        log.warning(
            "%s: %d members belong to no sample and are passed over, e.g. %s", url, len(strays), names
        )
    entries = [describe_group(url, group) for group in groups]
    say_text_alone(entries, url)
    data = encode_index(entries, url, stamp, contents.cut_at)
    files = index_places(url, cache)
    for file in files:
        try:
            if file == files[-1]:
                write_cache(Path(file), data)
            else:
                write_file(Path(file), data)
        except OSError as error:
            log.info("%s can't be written (%s); the index goes into the cache", file, error.strerror)
            continue
        index = read_tar_index(url, file, stamp)
        assert index is not None
        return index
    raise AssertionError("the last place either returns or raises")


def index_places(url: str, cache: Path) -> list[str]:
    """Where the index of a file may be: beside it, then in the cache."""
    full = url if is_url(url) else str(Path(local(url)).absolute())
    name = blake2b(full.encode(), digest_size=8).hexdigest()
    in_cache = str(cache / "index" / f"{name}-{full.rsplit('/', 1)[-1][-80:]}.index")
    return [in_cache] if is_url(url) else [f"{full}.index", in_cache]


def read_tar_index(url: str, file: str, stamp: tuple[int, str]) -> Index | None:
    """The index in a file, or None where there is none, or it is not of this tar any more."""
    try:
        with open_patiently(file) as lines:
            first = lines.readline()
            size = lines.seek(0, os.SEEK_END)
        head = json.loads(first)
        if head["format"] != FORMAT or [head["bytes"], head["changed"]] != list(stamp):
            return None
        index = Index(url, file, head, len(first))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return index if int(index.offsets[-1]) == size else None  # cut off or written on: it is made anew


def encode_index(
    entries: Iterable[dict[str, Any]], url: str, stamp: tuple[int, str], cut_at: int | None
) -> bytes:
    """The bytes of an index."""
    lines, samples, bad = [], [], []
    content = blake2b(digest_size=8)
    for member, entry in enumerate(entries):
        count, reason = count_samples(entry, url)
        samples.append(count)
        if reason:
            bad.append(member)
        text = {name: value for name, value in entry["text"].items() if name in KEPT}
        row = {**entry, "bad": reason, "text": {} if reason else text}
        line = json.dumps(without_half_letters(row), ensure_ascii=False)
        visuals = [(visual["kind"], visual["name"], visual["frames"]) for visual in entry["visuals"]]
        content.update(json.dumps([entry["key"], text, visuals]).encode())
        lines.append(line.encode() + b"\n")
    head = {
        "format": FORMAT,
        "of": url.rsplit("/", 1)[-1],
        "bytes": stamp[0],
        "changed": stamp[1],
        "cut_at": cut_at,
        "content": content.hexdigest(),
        "bad": bad,
        "samples": samples,
        "lines": [len(line) for line in lines],
    }
    return json.dumps(head).encode() + b"\n" + b"".join(lines)


def count_samples(entry: dict[str, Any], url: str) -> tuple[int, str | None]:
    """How many samples a described member makes, and why it can't be used; a bad one keeps one place."""
    if entry["bad"]:
        return 1, entry["bad"]
    try:
        return len(samples_of(entry, url)), entry["bad"]
    except DataError as error:
        return 1, str(error)


def say_text_alone(entries: Sequence[dict[str, Any]], of: str) -> None:
    """Logs that some samples show nothing where others do: a video may have been meant."""
    alone = [entry["key"] for entry in entries if not entry["visuals"] and not entry["bad"]]
    if alone and any(entry["visuals"] for entry in entries):
        log.warning("%s: %d of %d samples are text alone, e.g. %s", of, len(alone), len(entries), alone[0])


def _is_sample(group: Group) -> bool:
    """Whether a group holds text or something to show, so that it is meant as a sample."""
    return any(suffix in ("json", "txt") or media_kind(f".{suffix}") for suffix in group.members)


def describe_group(url: str, group: Group) -> dict[str, Any]:
    """The index line of a member of a tar."""

    def read(suffix: str) -> bytes | BinaryIO:
        refuse_long_text(suffix, group.members[suffix][1], f"{url}, member '{group.key}.{suffix}'")
        # Headers do not need all of a long video.
        return open_range(url, *group.members[suffix], whole=1 << 20)

    if group.bad is not None:
        reason = f"{url}: {group.bad}.\n  write the file itself into the tar"
        return {"key": group.key, "text": {}, "visuals": [], "bad": reason}
    entry = describe_member(url, group.key, group.members, read)
    for visual in entry["visuals"]:
        visual["offset"], visual["bytes"] = group.members[visual["name"][len(group.key) + 1 :]]
    return entry
