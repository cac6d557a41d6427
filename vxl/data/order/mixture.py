"""Several sources in one order, by weight: sample i is a function of (seed, i)."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from vxl.data.source.source import Fingerprinted, SampleSource
from vxl.errors import ConfigError
from vxl.seeds import permutation, seed_of

# Arrivals are sorted a stretch at a time; a stretch holds about this many samples.
STRETCH = 1024


class Mixture:
    """An endless order over several sources.

    The k-th sample of a source with the weight w arrives at the time (k + u_k) / w, u_k in [0, 1) by (seed,
    source, k). Sample i is the i-th arrival of all sources: shares are exact to a sample at any point,
    whatever the weights, and sample i is found without going through those before it. The k-th sample of a
    source of n is element k mod n of a permutation of its own for the pass k // n: nothing comes twice within
    a pass.

    Args:
        sources: By name.
        weights: Share of each source, in any unit; None weights each source by its length (all samples
            alike).
        seed: The run's seed.
    """

    def __init__(
        self,
        sources: Mapping[str, SampleSource],
        weights: Mapping[str, float] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.sources, self.seed = dict(sources), seed
        empty = [name for name, source in self.sources.items() if len(source) == 0]
        if not self.sources or empty:
            raise ConfigError(
                f"data has no samples: {', '.join(empty) or 'no source at all'}.\n"
                "  name shards or a JSON list that hold at least one sample"
            )
        shares = (
            {name: float(len(source)) for name, source in self.sources.items()}
            if weights is None
            else weights
        )
        if set(shares) != set(self.sources) or any(not share > 0 for share in shares.values()):
            raise ConfigError(
                f"data.weights={dict(shares)} does not fit the sources.\n"
                f"  write a number above 0 for each of: {', '.join(self.sources)}"
            )
        total = sum(shares.values())
        self.names = tuple(self.sources)
        self.rates = np.array([shares[name] / total for name in self.names])
        self._make_caches()

    def fingerprint(self) -> dict[str, str]:
        """What each source holds, where it can tell (`Fingerprinted.fingerprint`)."""
        return {
            name: source.fingerprint()
            for name, source in self.sources.items()
            if isinstance(source, Fingerprinted)
        }

    def sample(self, number: int) -> tuple[str, int]:
        """Sample `number` of the order: (source name, record of that source)."""
        return self.span(number, number + 1)[0]

    def span(self, start: int, stop: int) -> list[tuple[str, int]]:
        """Samples [start, stop) of the order."""
        samples: list[tuple[str, int]] = []
        stretch = max(start // STRETCH - 1, 0)
        while self._arrived(stretch + 1) <= start:
            stretch += 1
        while len(samples) < stop - start:
            first = self._arrived(stretch)
            samples += self._stretch(stretch)[max(start - first, 0) : stop - first]
            stretch += 1
        return samples

    def _arrived(self, stretch: int) -> int:
        """Samples of all sources that arrive before a stretch begins."""
        return int(self._counts_S(stretch).sum())

    def _counts_S(self, stretch: int) -> np.ndarray:
        """Samples of each source that arrive before the time stretch * STRETCH."""
        due_S = stretch * STRETCH * self.rates
        whole_S = np.floor(due_S).astype(np.int64)
        late = [
            _jitter(self.seed, name, whole, whole + 1)[0]
            for name, whole in zip(self.names, whole_S, strict=True)
        ]
        return whole_S + (np.array(late) < due_S - whole_S)

    def _plan_stretch(self, stretch: int) -> list[tuple[str, int]]:
        """The samples of a stretch, by time of arrival."""
        starts_S, stops_S = self._counts_S(stretch), self._counts_S(stretch + 1)
        times, owners, counts = [], [], []
        for owner, (name, start, stop) in enumerate(zip(self.names, starts_S, stops_S, strict=True)):
            k = np.arange(start, stop)
            times.append((k + _jitter(self.seed, name, start, stop)) / self.rates[owner])
            owners.append(np.full(len(k), owner))
            counts.append(k)
        order = np.argsort(np.concatenate(times), kind="stable")
        owners_N, counts_N = np.concatenate(owners)[order], np.concatenate(counts)[order]
        names = [self.names[owner] for owner in owners_N]
        return [(name, self._record(name, int(k))) for name, k in zip(names, counts_N, strict=True)]

    def _record(self, name: str, count: int) -> int:
        turn, position = divmod(count, len(self.sources[name]))
        return int(self._permutation(name, turn)[position])

    def _make_caches(self) -> None:
        self._stretch = lru_cache(maxsize=8)(self._plan_stretch)
        self._permutation = lru_cache(maxsize=2 * len(self.names))(
            lambda name, turn: permutation(len(self.sources[name]), self.seed, "pass", name, turn)
        )

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_stretch", "_permutation")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._make_caches()


def _jitter(seed: int, name: str, start: int, stop: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for the arrivals [start, stop) of a source, each a function of its own
    number."""
    key = np.uint64(seed_of(seed, "arrival", name))
    with np.errstate(over="ignore"):
        x = np.arange(start, stop, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2**53
