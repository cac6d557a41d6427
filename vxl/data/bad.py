"""Counting what could not be used: a few bad samples are masked and logged, many are an error."""

import logging
import math
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from vxl.data.sample import BadSample
from vxl.data.source.source import SampleSource
from vxl.errors import GOES_ON, DataError, one_line

log = logging.getLogger(__name__)

# Below this many samples a fraction says little: with 0.01 the first bad sample of a run is no reason to
# stop.
FEW = 100


class BadCounter:
    """Counts bad samples in the main process; its state goes into the checkpoint.

    Args:
        max_fraction: Bad samples / all samples that are tolerated (`data.max_bad_fraction`).
        folders: Where the media of JSON lists are, by list (`Data.media_folders`).
    """

    def __init__(self, max_fraction: float, folders: Mapping[str, str] | None = None) -> None:
        self.max_fraction, self._folders = max_fraction, folders or {}
        self.seen = 0
        self.bad = 0
        self.kinds: dict[str, int] = {}

    def add(self, count: int, bad: Iterable[BadSample] = ()) -> None:
        """Counts what a batch held.

        Args:
            count: Samples of the batch, the bad ones included.
            bad: The bad ones.

        Raises:
            DataError: There are too many by now; names the shard and the key of the last one. Or a whole
                shard is gone, before anything was learned without it.
        """
        self.seen += count
        for sample in bad:
            if sample.kind == "gone":
                raise DataError(f"{one_line(sample.reason)}\n  put it back; then {GOES_ON}")
            self.bad += 1
            self.kinds[sample.kind] = self.kinds.get(sample.kind, 0) + 1
            if self.kinds[sample.kind] == 1:
                log.warning("masked a bad sample (%s): %s", sample.kind, describe_bad(sample))
            if self.bad > self.max_fraction * max(self.seen, FEW):
                raise DataError(
                    f"{self.bad} of {self.seen} samples could not be used; "
                    f"data.max_bad_fraction={self.max_fraction} is exceeded.\n"
                    f"  the last one: {describe_bad(sample)}\n"
                    f"{_see_all(sample.shard, self.kinds, self._folders)}"
                    "  or allow more:    data.max_bad_fraction=0.1"
                )

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"seen": self.seen, "bad": self.bad, "kinds": dict(self.kinds)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting from a checkpoint."""
        self.seen, self.bad, self.kinds = state["seen"], state["bad"], dict(state["kinds"])


def refuse_mostly_bad(
    source: SampleSource, max_fraction: float, folders: Mapping[str, str] | None = None
) -> None:
    """Refuses a source of which indexing found more unusable than training would let pass in one epoch.

    Args:
        source: What is trained on.
        max_fraction: Of bad samples that are tolerated.
        folders: Where the media of JSON lists are, by list (`Data.media_folders`).

    Raises:
        DataError: It is so; names the first and the remedies.
    """
    bad = source.known_bad()
    if len(bad) > max_fraction * max(len(source), FEW):
        raise DataError(
            f"{len(bad)} of the {len(source)} samples of {bad[0].shard} can't be used; "
            f"data.max_bad_fraction={max_fraction} is exceeded.\n"
            f"  the first one: {describe_bad(bad[0])}\n"
            f"{_see_all(bad[0].shard, ['sample'], folders or {})}"
            f"  or allow more:    data.max_bad_fraction={math.ceil(100 * len(bad) / len(source)) / 100:g}"
        )


def _see_all(shard: str, kinds: Iterable[str], folders: Mapping[str, str]) -> str:
    """The line with the command that finds bad samples of these kinds; empty where none does.

    What does not fit a run's settings is wrong nowhere else, and a pipe is read once.
    """
    found = {"sample", "media"} & set(kinds)
    if not found or shard.startswith("pipe:"):
        return ""
    decode = ["--decode"] if "media" in found else []
    videos = ["--videos", folders[shard]] if shard in folders else []
    return f"  see all of them:  {shlex.join(['vxl', 'shards', 'lint', *decode, shard, *videos])}\n"


def describe_bad(sample: BadSample) -> str:
    """One line: shard, key and reason; what the reason says itself is not said twice."""
    reason = one_line(sample.reason)
    where = [
        word
        for name, word in ((sample.shard, sample.shard), (sample.key, f"sample '{sample.key}'"))
        if name not in reason
    ]
    return f"{', '.join(where)}: {reason}" if where else reason
