"""The options `data=shards`, `data=json` and `data=mixture`: one's own samples."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from vxl.data.base import Data, DataConfig, texts_of
from vxl.data.order.mixture import Mixture
from vxl.data.source.index import Index, index_places, read_tar_index
from vxl.data.source.ranges import describe_file
from vxl.data.source.source import IndexedShards, SampleSource
from vxl.data.source.urls import expand_urls, is_pipe
from vxl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ShardsConfig(DataConfig):
    """Shards: tars of KEY.mp4 (or .jpg, ...) and KEY.json."""

    _target_: str = "vxl.data.shards.Shards"
    train: list[str]
    """Shards to train on: paths, folders, URLs (s3://, https://, ...), with braces {000..099} and wildcards;
    or commands that write a tar (`pipe:curl -s URL`), which are streamed."""
    val: list[str] = field(default_factory=list)
    """Held-out shards, none of them a command; empty for no validation."""

    def __post_init__(self) -> None:
        """Pipes can't be read twice in the same order, nor with other shards in one order."""
        super().__post_init__()
        pipes = [url for url in self.train if is_pipe(url)]
        if pipes and len(pipes) != len(self.train):
            raise ConfigError(
                f"train mixes pipes ({pipes[0]}) with shards that are read by place.\n"
                "  name either pipes or files and URLs"
            )
        if any(is_pipe(url) for url in self.val):
            raise ConfigError("val holds a pipe, which has no fixed order.\n  name files or URLs")

    @property
    @override
    def holds_out(self) -> bool:
        return bool(self.val)

    @property
    @override
    def named(self) -> list[str]:
        return self.train


class Shards(Data):
    """Samples of shards."""

    config: ShardsConfig

    def __init__(self, config: ShardsConfig, *, cache: Path) -> None:
        super().__init__(config, cache=cache)

    def prepare(self) -> None:
        """Writes the indexes."""
        if not self.pipes():
            _ = self._train
        _ = self.validation()

    def pipes(self) -> list[str]:
        """Shards to stream, if the shards are commands."""
        return expand_urls(self.config.train) if any(is_pipe(url) for url in self.config.train) else []

    def training(self, seed: int) -> Mixture:
        """The samples to train on."""
        return Mixture({"shards": self._train}, seed=seed)

    def validation(self) -> SampleSource | None:
        """The held-out samples."""
        return IndexedShards(self.config.val, cache=self.cache) if self.config.val else None

    def count(self) -> int | None:
        """Samples of local shards whose indexes are written."""
        shards = [] if self.pipes() else expand_urls(self.config.train)
        if not shards or any("://" in url for url in shards):
            return None
        indexes = [self._index_of(url) for url in shards]
        there = [index for index in indexes if index is not None]
        return sum(map(len, there)) if len(there) == len(shards) else None

    def _index_of(self, url: str) -> Index | None:
        """The index of a tar that is there and fits the tar; None where one would have to be written."""
        stamp = describe_file(url)
        indexes = (read_tar_index(url, file, stamp) for file in index_places(url, self.cache))
        return next((index for index in indexes if index is not None), None)

    def texts(self) -> Iterator[str]:
        """Texts to train on; of pipes none, since they can't be read for it."""
        return iter(()) if self.pipes() else texts_of(self._train)

    @cached_property
    def _train(self) -> IndexedShards:
        return IndexedShards(self.config.train, cache=self.cache)
