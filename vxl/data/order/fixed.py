"""A fixed list of samples, each seen once: for validation."""

from collections.abc import Iterator
from itertools import pairwise

from torch.utils.data import IterableDataset, get_worker_info

from vxl.data.batch.collate import Example
from vxl.data.batch.examples import Examples, without_labels
from vxl.data.order.stream import MicroBatch
from vxl.data.order.whereabouts import at_sample, left_sample
from vxl.data.sample import BadSample
from vxl.data.source.source import SampleSource
from vxl.errors import DataError

GOLDEN = (5**0.5 - 1) / 2


def spread_places(total: int, count: int) -> list[int]:
    """`count` of `total` places, always the same: one of each of as many stretches, here and there in it.

    A fixed stride would fall in step with what repeats in a list, such as the letters of its answers;
    multiples of the golden section fall in step with nothing.
    """
    edges = [i * total // count for i in range(count + 1)] if count else []
    return [low + int(GOLDEN * i % 1 * (high - low)) for i, (low, high) in enumerate(pairwise(edges))]


class FixedList(IterableDataset):
    """Micro-batches of all samples of a source, longest first; use it in a DataLoader with `batch_size=None`.

    The list is filled up to a multiple of the ranks with masked samples, so that every rank gets as many.
    Numbers summed over ranks depend neither on their number nor on the workers'.

    Args:
        source: The samples.
        examples: How a sample becomes an example.
        batch: Rows a micro-batch.
        rank: This process, of `ranks`.
        ranks: Data-parallel processes.
        most: Take so many samples, spread over the source; None takes all.
    """

    def __init__(
        self,
        source: SampleSource,
        examples: Examples,
        *,
        batch: int,
        rank: int = 0,
        ranks: int = 1,
        most: int | None = None,
    ) -> None:
        super().__init__()
        self.source, self.examples, self.batch = source, examples, batch
        count = len(source) if most is None else min(most, len(source))
        costs = {number: self._cost(number) for number in spread_places(len(source), count)}
        order = sorted(costs, key=lambda number: (-costs[number], number))
        filling = [order[-1]] * (-len(order) % ranks) if order else []
        places = [(number, False) for number in order] + [(number, True) for number in filling]
        mine = places[rank::ranks]
        self.batches = [mine[first : first + batch] for first in range(0, len(mine), batch)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[MicroBatch[Example]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for place in range(worker, len(self.batches), workers):
            rows = [[self._example(number, is_filling)] for number, is_filling in self.batches[place]]
            left_sample()
            yield MicroBatch(place * self.batch, rows)

    def _cost(self, number: int) -> int:
        try:
            return self.examples.cost(self.source.record(number))
        except DataError:
            return 1

    def _example(self, number: int, is_filling: bool) -> Example:
        at_sample("the held-out list", f"number {number}")  # to ask for its name may be what hangs
        at_sample(*self.source.where(number))
        try:
            example = self.examples.make(self.source.load(number), seed=0)
        except DataError as error:
            example = self.examples.masked(BadSample(*self.source.where(number), reason=str(error)))
        return without_labels(example) if is_filling else example
