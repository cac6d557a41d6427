"""The global order of the rows: which samples stand in row r, for every r, without reading any media.

Samples come from the mixture in windows. The samples of a window are put into rows (one each, or packed),
rows of similar length are put into groups, and the groups are shuffled. So row r is a function of (seed, r,
config) alone.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vxl.data.order.mixture import Mixture
from vxl.data.order.packing import pack_rows
from vxl.data.sample import Sample
from vxl.errors import DataError
from vxl.seeds import permutation


@dataclass(frozen=True)
class Place:
    """One sample of the order: the `number`-th sample of the mixture is `record` of `source`."""

    number: int
    source: str
    record: int


class Order:
    """Rows of the global order.

    Args:
        mixture: The samples.
        cost: Tokens that the model will see for a sample (visual + text). Called once a sample and process.
        seed: The run's seed.
        bucket: Samples of a window: more of them sort (or pack) better.
        group: Rows of similar length that stand together, best the rows of an optimizer step. It is no matter
            of ranks, workers or micro-batches, so the order does not depend on those.
        max_tokens: Pack rows up to this many tokens; None for one sample a row.
        anchor: (window, its first row), known from an earlier `anchor_of`: packed rows before it are not
            planned again.
    """

    def __init__(
        self,
        mixture: Mixture,
        cost: Callable[[Sample], int],
        *,
        seed: int,
        bucket: int,
        group: int = 1,
        max_tokens: int | None = None,
        anchor: tuple[int, int] = (0, 0),
    ) -> None:
        self.mixture, self.cost = mixture, cost
        self.seed, self.bucket, self.group, self.max_tokens = seed, bucket, group, max_tokens
        self._costs = {name: np.full(len(source), -1, np.int32) for name, source in mixture.sources.items()}
        self._first_window, first_row = anchor
        self._starts = [first_row]
        self._rows = lru_cache(maxsize=4)(self._plan)

    def row(self, number: int) -> list[Place]:
        """The samples of row `number`: one without packing, several with it."""
        window, first = self.anchor_of(number)
        return self._rows(window)[number - first]

    def anchor_of(self, row: int) -> tuple[int, int]:
        """(window, its first row) of the window that holds `row`; pass it as `anchor` to start there."""
        if self.max_tokens is None:
            window = row // self.bucket
            return window, window * self.bucket
        if row < self._starts[0]:
            self._first_window, self._starts = 0, [0]
        while self._starts[-1] <= row:
            window = self._first_window + len(self._starts) - 1
            self._starts.append(self._starts[-1] + len(self._rows(window)))
        position = bisect_right(self._starts, row) - 1
        return self._first_window + position, self._starts[position]

    def _plan(self, window: int) -> list[list[Place]]:
        """The rows of a window."""
        first = window * self.bucket
        places = [
            Place(first + offset, name, record)
            for offset, (name, record) in enumerate(self.mixture.span(first, first + self.bucket))
        ]
        costs = [self.cost_of(place) for place in places]
        rows = arrange(costs, self.max_tokens, self.group, self.seed, "groups", window)
        return [[places[n] for n in row] for row in rows]

    def cost_of(self, place: Place) -> int:
        """Tokens of a sample; 1 for one whose text is wrong (it will be masked)."""
        costs = self._costs[place.source]
        if costs[place.record] < 0:
            try:
                costs[place.record] = self.cost(self.mixture.sources[place.source].record(place.record))
            except DataError:
                costs[place.record] = 1
        return int(costs[place.record])

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_rows": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._rows = lru_cache(maxsize=4)(self._plan)


def arrange(costs: Sequence[int], max_tokens: int | None, group: int, *names: int | str) -> list[list[int]]:
    """Puts samples into rows, and rows of similar length into groups that come in a shuffled order.

    Args:
        costs: Tokens of each sample.
        max_tokens: Pack rows up to this many tokens; None for one sample a row.
        group: Rows of a group.
        *names: What the shuffling is for, see vxl.seeds.

    Returns:
        Rows of positions in `costs`.
    """
    rows = [[n] for n in range(len(costs))] if max_tokens is None else pack_rows(costs, max_tokens)
    lengths = np.array([sum(costs[n] for n in row) for row in rows])
    rows = [rows[n] for n in np.argsort(-lengths, kind="stable")]
    groups = [rows[n : n + group] for n in range(0, len(rows), group)]
    # The short last group stays last, so that groups do not straddle two optimizer steps.
    whole = len(rows) // group
    order = [*permutation(whole, *names).tolist(), *range(whole, len(groups))]
    return [row for number in order for row in groups[number]]
