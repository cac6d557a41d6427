"""What every data option is: its settings, and what it gives to train on and to validate with."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from vxl.data.batch.prompt import turns_of
from vxl.data.order.mixture import Mixture
from vxl.data.sample import PLACEHOLDER
from vxl.data.source.source import SampleSource
from vxl.errors import ConfigError, DataError
from vxl.option.option import Option, option


@dataclass(frozen=True, kw_only=True)
class DataConfig(Option):
    """How samples become batches, whatever they are read from."""

    benchmark: ClassVar[str | None] = None
    """The benchmark that asks this data's own held-out questions; None where there is none."""
    batch: int = option(8, resumable=True)
    """Batch size: rows of a micro-batch; the global batch is data.batch x trainer.accumulate x ranks."""
    max_tokens: int = 2048
    """Longest row, in tokens that the model sees (visual and text). A longer sample is a bad one."""
    packing: bool = False
    """Put several samples into a row of max_tokens; they never attend to each other."""
    bucket: int = 256
    """Samples that are sorted by length (or packed) together; more of them waste less padding."""
    workers: int = option(2, resumable=True)
    """Processes a rank that decode; 0 decodes in the training process. The numbers stay the same."""
    threads: Literal["codec", "auto"] = option("codec", resumable=True)
    """What decodes a file: `codec`, one thread in training and the codec's own elsewhere; `auto`, as many as
    the process has cores for each worker, each a part between key frames. The frames are the same."""
    cache: Literal["none", "frames", "features"] = option("none", resumable=True)
    """What is kept on disk, below paths.cache, and shared by all runs and evaluations that look at the same:
    decoded, resized frames; these and a frozen tower's features; or nothing. The numbers stay the same."""
    cache_gib: float = option(20.0, resumable=True)
    """Most gibibytes of frames, and of features; what was not used for longest makes room."""
    patience: float = option(600.0, resumable=True)
    """Longest wait for a disk or server that does not answer, and for a data worker, in seconds; then the run
    ends, to be started again from its last checkpoint. 0: wait for ever."""
    max_bad_fraction: float = 0.01
    """Bad samples / all samples above which training stops; below it they are masked and counted."""
    held_out: int | None = option(None, resumable=True)
    """Most held-out samples that a validation asks, spread over all of them; null for all."""

    def __post_init__(self) -> None:
        """Counts are positive, the fraction is one."""
        for key in ("batch", "max_tokens", "bucket"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}={getattr(self, key)} is too small.\n  allowed: 1 or more")
        if self.workers < 0:
            raise ConfigError(f"workers={self.workers} is too small.\n  allowed: 0 or more")
        if not self.cache_gib > 0:
            raise ConfigError(f"cache_gib={self.cache_gib} is too small.\n  allowed: more than 0")
        if self.patience < 0:
            raise ConfigError(f"patience={self.patience} is too small.\n  allowed: 0 (for ever) or more")
        if self.held_out is not None and self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out} is too small.\n  allowed: null (all), or 1 or more")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError(f"max_bad_fraction={self.max_bad_fraction} is no fraction.\n  allowed: 0 to 1")

    @property
    def holds_out(self) -> bool:
        """Whether a validation has samples to ask: where no key names them, the option makes its own."""
        return True

    @property
    def named(self) -> list[str]:
        """The lists, shards or sources that it trains on, as they are named; empty where it makes its own."""
        return []


class Data(ABC):
    """A data option, built by `build(config.data, cache=Path(config.paths.cache))`.

    Cheap to build; `prepare` does the work and may be called by any number of processes.
    """

    def __init__(self, config: DataConfig, *, cache: Path) -> None:
        self.config, self.cache = config, Path(cache)

    @abstractmethod
    def prepare(self) -> None:
        """Writes what has to be written (shards, indexes), once, however many processes call it."""

    @abstractmethod
    def training(self, seed: int) -> Mixture:
        """The samples to train on, in the order of a seed."""

    @abstractmethod
    def validation(self) -> SampleSource | None:
        """The held-out samples, all of them in a fixed order; None without any."""

    def pipes(self) -> list[str]:
        """Shards to train on that have no index and are streamed; where there are any, `training` is not
        asked."""
        return []

    def count(self) -> int | None:
        """How many samples there are to train on, where that is known without writing or fetching anything.

        Raises:
            DataError: They are not there.
        """
        return None

    def media_folders(self) -> dict[str, str]:
        """The JSON lists, each with the folder that its paths start in: who lints one has to name it."""
        return {}

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """Texts of the samples to train on, for training a tokenizer: captions, questions, answers."""


def texts_of(source: SampleSource, most: int = 20_000) -> Iterator[str]:
    """The texts of a source's first samples; those that can't be read are left out."""
    for number in range(min(len(source), most)):
        try:
            sample = source.record(number)
        except DataError:
            continue
        yield from (turn.text.replace(PLACEHOLDER, "") for turn in turns_of(sample))
