"""A part of a source: the first samples, the last ones, or some at random, as published lists name them."""

import re
from hashlib import blake2b

import numpy as np

from vxl.data.sample import BadSample, Sample, SampleWithMedia
from vxl.data.source.source import Fingerprinted, SampleSource
from vxl.errors import ConfigError
from vxl.seeds import permutation

_TAKE = re.compile(r"(first|end|random):(\d+(?:\.\d+)?)(%?)")


def parse_take(take: str) -> tuple[str, float, bool]:
    """(all, first, end or random; how many; whether that is in per cent).

    Args:
        take: `all`, `first:N`, `end:N` or `random:N`; N is a count, or a share such as `10%`. These are the
            words of LLaVA's and the family's lists (`sampling_strategy`).

    Raises:
        ConfigError: It says something else.
    """
    if take == "all":
        return "all", 100.0, True
    match = _TAKE.fullmatch(take)
    if not match or not float(match[2]):
        raise ConfigError(
            f"take={take} is not understood.\n  allowed: all, first:N, end:N, random:N; N may be 10%"
        )
    return match[1], float(match[2]), bool(match[3])


def numbers_taken(take: str, count: int, name: str) -> np.ndarray:
    """Numbers of the samples that are taken, ascending.

    Args:
        take: See `parse_take`.
        count: How many there are.
        name: Of the source: what is drawn at random depends on it, and on nothing else.

    Raises:
        ConfigError: It says something else, or takes nothing.
    """
    how, number, is_share = parse_take(take)
    most = min(count, int(count * number / 100) if is_share else int(number))
    if most < 1:
        raise ConfigError(
            f"source {name}: take={take} takes none of its {count} samples.\n  e.g.  take=random:10%"
        )
    if how == "random":
        return np.sort(permutation(count, "take", name)[:most]).astype(np.int64)
    return np.arange(count - most, count) if how == "end" else np.arange(most)


class PartOfSource:
    """Some samples of another source.

    Args:
        whole: The source.
        numbers: Which of its samples, ascending.
    """

    def __init__(self, whole: SampleSource, numbers: np.ndarray) -> None:
        self.whole, self.numbers = whole, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def fingerprint(self) -> str:
        """A digest of all samples."""
        whole = self.whole.fingerprint() if isinstance(self.whole, Fingerprinted) else ""
        return blake2b(whole.encode() + self.numbers.tobytes(), digest_size=8).hexdigest()

    def record(self, number: int) -> Sample:
        """The sample without its media."""
        return self.whole.record(int(self.numbers[number]))

    def load(self, number: int) -> SampleWithMedia:
        """The sample with its media."""
        return self.whole.load(int(self.numbers[number]))

    def where(self, number: int) -> tuple[str, str]:
        """(shard, key) of a sample."""
        return self.whole.where(int(self.numbers[number]))

    def known_bad(self) -> list[BadSample]:
        """What is unusable in the whole source: indexing does not say which part that would be in."""
        return self.whole.known_bad()
