"""Where samples come from: a protocol, and what indexed sources have in common with it."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from vxl.data.sample import BadSample, Media, Sample, SampleWithMedia
from vxl.data.source.entry import samples_of
from vxl.data.source.index import Index, open_index
from vxl.data.source.ranges import open_range
from vxl.data.source.urls import expand_urls, is_pipe
from vxl.errors import DataError, one_line

if TYPE_CHECKING:  # late: torch takes 2 s, and writing shards needs none of it
    from vxl.video.virtual import Virtual

log = logging.getLogger(__name__)


@runtime_checkable
class SampleSource(Protocol):
    """Samples by number. Cheap to copy into a data worker; opens files where it is used."""

    def __len__(self) -> int:
        """How many samples."""
        ...

    def record(self, number: int) -> Sample:
        """The sample without its media: text, frames, frames a second. Costs microseconds.

        Raises:
            DataError: What is wrong with its text.
        """
        ...

    def load(self, number: int) -> SampleWithMedia:
        """The sample with its media (a path, bytes or a file), not decoded.

        Raises:
            DataError: What is wrong with it.
        """
        ...

    def where(self, number: int) -> tuple[str, str]:
        """(shard, key), for messages; never raises."""
        ...

    def known_bad(self) -> list[BadSample]:
        """What indexing found unusable."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A source that can tell what it holds."""

    def fingerprint(self) -> str:
        """A digest of all samples: the same for a copy, another for other samples."""
        ...


class IndexedSource:
    """A source over one index or several.

    Args:
        name: What to call it in messages.
        indices: Of its shards, in order.
        some: Whether at least one sample must be usable.

    Raises:
        DataError: None of its samples can be used; shows the first one's reason.
    """

    def __init__(self, name: str, indices: Sequence[Index], *, some: bool = True) -> None:
        self.name, self.indices = name, list(indices)
        self.firsts = np.cumsum([0, *(len(index) for index in self.indices)])
        bad = sum(len(index.bad) for index in self.indices)
        if not some:
            return
        if len(self) == 0:
            raise DataError(
                f"{name} holds no samples.\n  write members KEY.mp4 + KEY.json (vxl shards write --help)"
            )
        if bad == len(self):
            raise DataError(
                f"no sample of {name} can be used, of {bad} in all; the first:\n{self.known_bad(1)[0].reason}"
            )
        if bad:
            log.warning(
                "%d of the %d samples of %s can't be used, e.g. %s",
                bad,
                len(self),
                name,
                one_line(self.known_bad(1)[0].reason),
            )

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def fingerprint(self) -> str:
        """A digest of all keys, texts and what is shown: the same for a copy, another for other samples."""
        return blake2b("".join(index.content for index in self.indices).encode(), digest_size=8).hexdigest()

    def record(self, number: int) -> Sample:
        """The sample without its media."""
        return self._find(number)[2]

    def load(self, number: int) -> SampleWithMedia:
        """The sample with its media."""
        index, entry, sample = self._find(number)
        return SampleWithMedia(sample, tuple(self._open(index, visual) for visual in entry["visuals"]))

    def where(self, number: int) -> tuple[str, str]:
        """(shard, key) of a sample."""
        index, member, _ = self._locate(number)
        try:
            return index.of, index.entry(member)["key"]
        except DataError:  # the index is gone, perhaps with its shard
            return index.of, f"number {member}"

    def member(self, number: int) -> tuple[int, int]:
        """(index, member of it) of a sample: several may come from one member, and keys may repeat."""
        position = int(np.searchsorted(self.firsts, number, side="right")) - 1
        return position, self._locate(number)[1]

    def known_bad(self, most: int | None = None) -> list[BadSample]:
        """What indexing found unusable, the first `most` of them."""
        pairs = ((index, member) for index in self.indices for member in index.bad)
        bad_samples = []
        for index, member in pairs:
            if most is not None and len(bad_samples) == most:
                break
            entry = index.entry(member)
            bad_samples.append(BadSample(index.of, entry["key"], entry["bad"]))
        return bad_samples

    def _locate(self, number: int) -> tuple[Index, int, int]:
        position = int(np.searchsorted(self.firsts, number, side="right")) - 1
        index = self.indices[position]
        return index, *index.locate(number - int(self.firsts[position]))

    def _find(self, number: int) -> tuple[Index, dict[str, Any], Sample]:
        index, member, part = self._locate(number)
        entry = index.entry(member)
        return index, entry, samples_of(entry, index.of)[part]

    def _open(self, index: Index, visual: dict[str, Any]) -> "Media | Virtual":
        return open_range(index.of, visual["offset"], visual["bytes"])


class IndexedShards(IndexedSource):
    """Tars with an index, local or on anything that fsspec reads by ranges.

    Args:
        urls: What `vxl.data.source.urls.expand_urls` takes.
        cache: `paths.cache`, for indices that can't be written beside the tars.
        jobs: Tars to index at once, where the index is not there yet.

    Raises:
        DataError: A pattern matches nothing, a tar is cut off or unreadable, or no sample can be used.
    """

    def __init__(self, urls: str | Sequence[str], *, cache: Path, jobs: int = 4) -> None:
        shards = expand_urls(urls)
        pipes = [url for url in shards if is_pipe(url)]
        if pipes:
            raise DataError(
                f"{pipes[0]} can only be streamed, but is listed where parts of shards are read.\n"
                "  list pipes alone, or name the files or URLs themselves"
            )
        with ThreadPoolExecutor(jobs) as pool:
            indices = list(pool.map(lambda url: open_index(url, cache), shards))
        super().__init__(
            shards[0] if len(shards) == 1 else f"{shards[0]} ... ({len(shards)} shards)", indices
        )
