"""`data=mixture`: several sources by weight."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from vxl.data.base import Data, DataConfig, texts_of
from vxl.data.order.mixture import Mixture
from vxl.data.source.json_list import JsonSource
from vxl.data.source.part import PartOfSource, numbers_taken, parse_take
from vxl.data.source.source import IndexedShards, SampleSource
from vxl.data.source.urls import is_pipe
from vxl.errors import ConfigError, DataError
from vxl.patience import is_there

log = logging.getLogger(__name__)

MOST_NAMED = 12
"""Missing lists and folders that a message names."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One source of a mixture: shards, or a JSON list with its folder."""

    shards: list[str] = field(default_factory=list)
    """Its shards, as in data=shards."""
    json: str | None = None
    """Its JSON list, as in data=json."""
    videos: str | None = None
    """The folder of the list's media."""
    weight: float | None = None
    """Its share of the samples, in any unit; null for all sources = by their lengths."""
    take: str = "all"
    """Which of its samples: all, first:N, end:N or random:N (N may be 10%), as the family's lists say it."""
    samples: int | None = None
    """About how many it has where it is published: a number that is more than 1 % off is said."""
    origin: str = ""
    """Where it comes from: said where it is missing."""

    def __post_init__(self) -> None:
        """One of both, with what it needs."""
        if bool(self.shards) == bool(self.json) or bool(self.json) != bool(self.videos):
            raise ConfigError(
                f"a source has shards={self.shards}, json={self.json}, videos={self.videos}.\n"
                "  allowed: shards, or json and videos"
            )
        if any(is_pipe(url) for url in self.shards):
            raise ConfigError(
                "a mixture can't hold pipes, which have no fixed order.\n  name files or URLs, or type  "
                "data=shards"
            )
        if self.weight is not None and self.weight <= 0:
            raise ConfigError(f"weight={self.weight} is not positive.\n  allowed: above 0, or null")
        parse_take(self.take)


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(DataConfig):
    """Several sources, by weight."""

    _target_: str = "vxl.data.mixture.Mixed"
    sources: dict[str, SourceConfig]
    """By name: {films: {shards: [films/*.tar], weight: 2}, own: {json: a.json, videos: b, weight: 1}}"""
    root: str = "."
    """Folder that the sources' files and folders start in."""
    val: list[str] = field(default_factory=list)
    """Held-out shards; empty for no validation."""

    def __post_init__(self) -> None:
        """At least one source; all have a weight, or none."""
        super().__post_init__()
        if not self.sources:
            raise ConfigError(
                "sources is empty.\n  type e.g.  'data.sources={films: {shards: [films/*.tar], weight: 2}, "
                "own: {shards: [own/*.tar], weight: 1}}'"
            )
        without = [name for name, source in self.sources.items() if source.weight is None]
        if without and len(without) != len(self.sources):
            raise ConfigError(
                f"sources: {', '.join(without)} has no weight, the others do.\n"
                f"  type  data.sources.{without[0]}.weight=1  or take all weights out"
            )

    @property
    @override
    def holds_out(self) -> bool:
        return bool(self.val)

    @property
    @override
    def named(self) -> list[str]:
        return list(self.sources)


class Mixed(Data):
    """Samples of several sources."""

    config: MixtureConfig

    def __init__(self, config: MixtureConfig, *, cache: Path) -> None:
        super().__init__(config, cache=cache)

    def prepare(self) -> None:
        """Writes the indexes."""
        _ = self._train, self.validation()

    def training(self, seed: int) -> Mixture:
        """The samples to train on."""
        weights = {name: source.weight for name, source in self.config.sources.items()}
        weight_by_name = {name: weight for name, weight in weights.items() if weight is not None}
        return Mixture(self._train, weight_by_name or None, seed=seed)

    def validation(self) -> SampleSource | None:
        """The held-out samples."""
        return IndexedShards(self.config.val, cache=self.cache) if self.config.val else None

    @override
    def media_folders(self) -> dict[str, str]:
        root = Path(self.config.root)
        return {
            str(root / source.json): str(root / source.videos)
            for source in self.config.sources.values()
            if source.json is not None and source.videos is not None
        }

    def texts(self) -> Iterator[str]:
        """Texts to train on, of all sources."""
        for source in self._train.values():
            yield from texts_of(source)

    @cached_property
    def _train(self) -> dict[str, SampleSource]:
        self._refuse_missing()
        root = Path(self.config.root)
        sources: dict[str, SampleSource] = {}
        for name, source in self.config.sources.items():
            if source.json is not None and source.videos is not None:
                whole = JsonSource(root / source.json, root / source.videos, cache=self.cache)
            else:
                whole = IndexedShards([self._placed(shards) for shards in source.shards], cache=self.cache)
            if source.samples is not None and abs(len(whole) - source.samples) > 0.01 * source.samples:
                log.warning(
                    "source %s has %d samples; about %d are published", name, len(whole), source.samples
                )
            numbers = numbers_taken(source.take, len(whole), name)
            sources[name] = whole if len(numbers) == len(whole) else PartOfSource(whole, numbers)
        return sources

    def _refuse_missing(self) -> None:
        """Names all lists and folders of media that are not there, before any is read."""
        missing = []
        for name, source in self.config.sources.items():
            for path in (source.json, source.videos):
                if path is not None and not is_there(Path(self.config.root) / path):
                    origin = f"  (from {source.origin})" if source.origin else ""
                    missing.append(f"  {name}: {Path(self.config.root) / path}{origin}")
        if missing:
            some = missing if len(missing) <= MOST_NAMED else [*missing[:MOST_NAMED], "  …"]
            raise DataError(
                f"{len(missing)} lists and folders of data.sources are not there:\n"
                + "\n".join(some)
                + "\n  name their folder:   data.root=FOLDER\n"
                f"  leave a source out:  '~data.sources.{missing[0].strip().partition(':')[0]}'"
            )

    def _placed(self, shards: str) -> str:
        """A pattern of shards below the root; URLs and whole paths stay."""
        return shards if "://" in shards or shards.startswith("/") else str(Path(self.config.root) / shards)
