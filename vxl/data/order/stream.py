"""The stream: rows of the global order, shared out among ranks and workers that take turns.

Row r holds the same samples whatever the number of ranks, workers, or rows a micro-batch: an optimizer step
is the rows [s * G, (s + 1) * G) for a global batch of G rows. Inside it, micro-batch m of all micro-batches
is the rows [m * batch, (m + 1) * batch), and rank m mod R computes it; a rank's own micro-batches go round
its workers. So the k-th item that a rank's loader yields is the same with any number of workers, `accumulate`
of them in a row are its share of one step, and starting at row r yields what would have come after r - 1 rows
without reading those.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from torch.utils.data import IterableDataset, get_worker_info

from vxl.data.order.rows import Order, Place
from vxl.data.order.whereabouts import at_sample, left_sample
from vxl.data.sample import BadSample, Sample, SampleWithMedia
from vxl.data.source.ranges import GoneError
from vxl.errors import DataError
from vxl.seeds import seed_of

E = TypeVar("E")


@dataclass(frozen=True)
class MicroBatch(Generic[E]):
    """Rows [first_row, first_row + len(rows)) of the global order; a row: one example, or several packed."""

    first_row: int
    rows: list[list[E]]
    anchor: tuple[int, int] = (0, 0)
    """(window, its first row): with it in the checkpoint, a packed stream resumes without planning what came
    before."""


def schedule(
    start_row: int,
    batch: int,
    *,
    rank: int = 0,
    ranks: int = 1,
    worker: int = 0,
    workers: int = 1,
    stop_row: int | None = None,
) -> Iterator[int]:
    """First rows of the micro-batches that one worker of one rank makes, in order.

    The n-th micro-batch from `start_row` on goes to rank n mod `ranks`; the k-th of a rank to its worker k
    mod `workers`, which is the order in which a DataLoader asks them.

    Args:
        start_row: Rows consumed so far by all ranks together.
        batch: Rows a micro-batch.
        rank: This process, of `ranks`.
        ranks: Data-parallel processes.
        worker: This worker, of `workers`.
        workers: Data workers a rank (1 for the main process itself).
        stop_row: No micro-batch begins at or after this row; None goes on for ever.
    """
    row = start_row + (worker * ranks + rank) * batch
    while stop_row is None or row < stop_row:
        yield row
        row += workers * ranks * batch


class Stream(IterableDataset, Generic[E]):
    """Yields a MicroBatch at a time; use it in a DataLoader with `batch_size=None`.

    Args:
        order: Which samples stand in which row.
        prepare: Makes an example of a sample: `prepare(loaded, seed)`, decoding included. `seed` is for its
            random choices; it depends on the run's seed and the sample's number alone. Raises DataError for a
            bad sample.
        masked: Makes the example that keeps a bad sample's place, with nothing supervised.
        batch: Rows a micro-batch.
        rank: This process, of `ranks`.
        ranks: Data-parallel processes.
        start_row: Rows consumed so far by all ranks together.
        stop_row: Where to end; None goes on for ever.
    """

    def __init__(
        self,
        order: Order,
        prepare: Callable[[SampleWithMedia, int], E],
        masked: Callable[[BadSample], E],
        *,
        batch: int,
        rank: int = 0,
        ranks: int = 1,
        start_row: int = 0,
        stop_row: int | None = None,
    ) -> None:
        super().__init__()
        self.order, self.prepare, self.masked = order, prepare, masked
        self.batch, self.rank, self.ranks = batch, rank, ranks
        self.start_row, self.stop_row = start_row, stop_row

    def __iter__(self) -> Iterator[MicroBatch[E]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        turns = schedule(
            self.start_row,
            self.batch,
            rank=self.rank,
            ranks=self.ranks,
            worker=worker,
            workers=workers,
            stop_row=self.stop_row,
        )
        for first in turns:
            last = first + self.batch if self.stop_row is None else min(first + self.batch, self.stop_row)
            rows = [[self.example(place) for place in self.order.row(row)] for row in range(first, last)]
            left_sample()
            yield MicroBatch(first, rows, self.order.anchor_of(first))

    def example(self, place: Place) -> E:
        """The example of one place; a masked one if the sample is bad."""
        source = self.order.mixture.sources[place.source]
        at_sample(place.source, f"number {place.record}")  # to ask for its name may be what hangs
        at_sample(*source.where(place.record))
        try:
            with_media = source.load(place.record)
        except DataError as error:
            kind = "gone" if isinstance(error, GoneError) else "sample"
            return self.masked(BadSample(*source.where(place.record), reason=str(error), kind=kind))
        try:
            return self.prepare(with_media, seed_of(self.order.seed, "sample", place.number))
        except DataError as error:
            kind = "gone" if isinstance(error, GoneError) else failed_part(self.order.cost, with_media)
            return self.masked(BadSample(*source.where(place.record), reason=str(error), kind=kind))

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("a Stream is iterated; for one row use stream.order.row(r) and stream.example(place)")


def failed_part(cost: Callable[[Sample], int], with_media: SampleWithMedia) -> Literal["settings", "media"]:
    """Why a whole sample made no example: it does not fit this run (too long, say), or its media are bad."""
    try:
        cost(with_media.sample)
    except DataError:
        return "settings"
    return "media"
