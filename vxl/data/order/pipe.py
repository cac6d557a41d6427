"""Shards that can only be read from beginning to end (`pipe:` commands): streamed through webdataset.

Every worker of every rank has shards of its own and draws from them for ever. The order is a function of
(seed, rank, worker) and of their numbers; resuming reads again, without decoding, what was read before.
"""

import logging
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, TypeVar

from torch.utils.data import IterableDataset, get_worker_info
from webdataset.gopen import Pipe, gopen
from webdataset.shardlists import ResampledShards
from webdataset.tariterators import group_by_keys, tar_file_expander

from vxl.data.order.rows import arrange
from vxl.data.order.stream import MicroBatch, failed_part, schedule
from vxl.data.order.whereabouts import at_sample, left_sample
from vxl.data.sample import BadSample, Sample, SampleWithMedia
from vxl.data.source.entry import samples_of
from vxl.data.source.member import describe_member
from vxl.errors import DataError
from vxl.patience import patiently
from vxl.seeds import seed_of

log = logging.getLogger(__name__)

E = TypeVar("E")
TRIES = 3
# Of a shell: a command that can't be run, or that was not read to its end. Any other status but 0 is a fault.
NO_COMMAND, UNREAD = (126, 127), (141, -13)


@dataclass(frozen=True)
class PipedSample:
    """A sample that was read, or None; and what to report if it is bad."""

    loaded: SampleWithMedia | None
    bad: BadSample


class PipeStream(IterableDataset, Generic[E]):
    """As vxl.data.order.stream.Stream, over shards without an index.

    Args:
        urls: All shards, expanded.
        cost: Tokens of a sample.
        prepare: As Stream's.
        masked: As Stream's.
        seed: The run's seed.
        batch: Rows a micro-batch.
        bucket: Samples that a worker holds in memory, to sort or pack them.
        max_tokens: Pack rows up to this many tokens; None for one sample a row.
        rank: This process, of `ranks`.
        ranks: Data-parallel processes.
        workers: Data workers a rank, as the DataLoader has them.
        start_row: Rows consumed so far by all ranks together.

    Raises:
        DataError: There are fewer shards than workers of all ranks.
    """

    def __init__(
        self,
        urls: Sequence[str],
        cost: Callable[[Sample], int],
        prepare: Callable[[SampleWithMedia, int], E],
        masked: Callable[[BadSample], E],
        *,
        seed: int,
        batch: int,
        bucket: int,
        max_tokens: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 0,
        start_row: int = 0,
    ) -> None:
        super().__init__()
        self.readers = ranks * max(workers, 1)
        if len(urls) < self.readers:
            most, fewer = len(urls) // ranks, " and fewer devices" if len(urls) < ranks else ""
            raise DataError(
                f"too few un-indexed shards: {len(urls)} for {self.readers} readers (ranks {ranks} x workers "
                f"{max(workers, 1)}).\n"
                f"  every reader needs a shard of its own:  data.workers={most}{fewer}\n"
                f"  or write at least {self.readers} shards, or name files or URLs in the place of pipe:…"
            )
        self.urls, self.cost, self.prepare, self.masked = list(urls), cost, prepare, masked
        self.seed, self.batch, self.bucket, self.max_tokens = seed, batch, bucket, max_tokens
        self.rank, self.ranks, self.start_row = rank, ranks, start_row
        log.warning(
            "%d shards are pipes, without an index: the order repeats only with the same seed, ranks (%d) "
            "and workers (%d), and resuming reads again what was read before",
            *(len(urls), ranks, workers),
        )

    def __iter__(self) -> Iterator[MicroBatch[E]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        before = self.start_row // (self.batch * self.ranks)  # of this rank's micro-batches
        # A resumed loader begins with its worker 0; the next in turn was worker `before` mod workers.
        reader = (worker + before) % workers
        past = len(range(reader, before, workers))
        rows = self._rows(self.rank * workers + reader)
        for _ in range(past * self.batch):
            next(rows)
        turns = schedule(
            self.start_row, self.batch, rank=self.rank, ranks=self.ranks, worker=worker, workers=workers
        )
        for first in turns:
            micro_batch = [[self._example(*item) for item in next(rows)] for _ in range(self.batch)]
            left_sample()
            yield MicroBatch(first, micro_batch)

    def _rows(self, reader: int) -> Iterator[list[tuple[PipedSample, int]]]:
        """Endless rows of one reader; each sample with its seed."""
        samples = self._samples(reader)
        window = number = 0
        while True:
            items = [next(samples) for _ in range(self.bucket)]
            costs = [self._cost(item) for item in items]
            for row in arrange(costs, self.max_tokens, self.batch, self.seed, "pipe", reader, window):
                yield [(items[n], seed_of(self.seed, "pipe", reader, number + n)) for n in row]
            window, number = window + 1, number + self.bucket

    def _cost(self, item: PipedSample) -> int:
        try:
            return self.cost(item.loaded.sample) if item.loaded else 1
        except DataError:
            return 1

    def _samples(self, reader: int) -> Iterator[PipedSample]:
        # Without deterministic=True process ids and clocks would go into the seed.
        shards = ResampledShards(
            self.urls[reader :: self.readers],
            seed=self.seed,
            worker_seed=lambda: seed_of("reader", reader) & 0x7FFFFFFF,
            deterministic=True,
        )
        broken = 0
        for shard in shards:
            # A tar at a time: after an error webdataset would join the rest of one tar with the next.
            at_sample(shard["url"], "that comes next")
            try:
                for group in groups_patiently(shard["url"]):
                    broken = 0
                    yield from samples_of_group(group)
            except (OSError, EOFError, ValueError, tarfile.TarError) as error:
                broken += 1
                report_broken(shard["url"], error, broken)

    def _example(self, item: PipedSample, seed: int) -> E:
        if item.loaded is None:
            return self.masked(item.bad)
        at_sample(item.bad.shard, item.bad.key)
        try:
            return self.prepare(item.loaded, seed)
        except DataError as error:
            kind = failed_part(self.cost, item.loaded)
            return self.masked(replace(item.bad, reason=str(error), kind=kind))


def groups_patiently(url: str) -> Iterator[dict[str, Any]]:
    """The groups of a tar that a command writes; one that fails is run again, and what it gave passed over.

    Raises:
        OSError: There is no such command, or what it writes is no tar.
        LostError: The command failed for `data.patience` seconds.
    """
    count, groups = 0, iter(())
    is_open = False

    def following() -> dict[str, Any] | None:
        nonlocal groups, is_open
        if not is_open:
            groups, is_open = islice(_groups(url), count, None), True
        try:
            return next(groups, None)
        except Exception:
            is_open = False
            raise

    while (group := patiently(following, url)) is not None:
        yield group
        count += 1


def _groups(url: str) -> Iterator[dict[str, Any]]:
    stream = gopen(url)
    try:
        yield from group_by_keys(tar_file_expander([{"url": url, "stream": stream}]))
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        _refuse_failed(stream, error)
        raise
    _refuse_failed(stream)


def _refuse_failed(stream: Any, error: Exception | None = None) -> None:
    """Raises ConnectionError where a tar ended because its command failed, and not by itself."""
    if not isinstance(stream, Pipe):
        return
    if error is not None and stream.proc.poll() is None and stream.stream.read(1):
        return  # it goes on writing: what it writes is no tar
    while stream.stream.read(1 << 20):
        pass
    status = stream.proc.wait()
    if status not in (0, *NO_COMMAND, *UNREAD):
        raise ConnectionError(f"the command ended with status {status}; try it by itself") from error


def report_broken(url: str, error: Exception, in_a_row: int) -> None:
    """Logs that a pipe broke off.

    Raises:
        DataError: Several in a row did, and gave nothing before.
    """
    reason = next(iter(error.args), type(error).__name__)  # webdataset appends where it was
    if in_a_row >= TRIES:
        raise DataError(
            f"{in_a_row} pipes in a row gave no sample; the last: {url}\n  got: {reason}\n"
            "  try the command by itself; it has to write a tar to its standard output"
        ) from error
    log.warning("%s broke off (%s); going on with another", url, reason)


def samples_of_group(group: dict[str, Any]) -> list[PipedSample]:
    """The samples of webdataset's {"__key__": ..., "mp4": bytes, "json": bytes, ...}."""
    shard, key = group["__url__"], group["__key__"]
    files = {suffix: content for suffix, content in group.items() if not suffix.startswith("__")}
    entry = describe_member(shard, key, files, files.__getitem__)
    try:
        samples = samples_of(entry, shard)
    except DataError as error:
        return [PipedSample(None, BadSample(shard, key, str(error)))]
    media = tuple(files[visual["name"][len(key) + 1 :]] for visual in entry["visuals"])
    return [
        PipedSample(SampleWithMedia(sample, media), BadSample(shard, sample.key, "")) for sample in samples
    ]
