"""`data=json`: a list in the family's format and a folder of videos and images."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from vxl.data.base import Data, DataConfig, texts_of
from vxl.data.order.mixture import Mixture
from vxl.data.source.json_list import JsonSource, read_items
from vxl.data.source.source import SampleSource


@dataclass(frozen=True, kw_only=True)
class JsonConfig(DataConfig):
    """A JSON list in the family's format and a folder of media, without shards."""

    _target_: str = "vxl.data.json.Json"
    json: str
    """The list to train on (.json, or .jsonl with one item a line)."""
    videos: str
    """Folder that the items' paths of videos and images start in."""
    val: str | None = None
    """A held-out list over the same folder; null for no validation."""

    @property
    @override
    def holds_out(self) -> bool:
        return self.val is not None

    @property
    @override
    def named(self) -> list[str]:
        return [self.json]


class Json(Data):
    """Samples of a JSON list."""

    config: JsonConfig

    def __init__(self, config: JsonConfig, *, cache: Path) -> None:
        super().__init__(config, cache=cache)

    def prepare(self) -> None:
        """Asks the headers of the media and writes the indexes."""
        _ = self._train, self._val

    def training(self, seed: int) -> Mixture:
        """The samples to train on."""
        return Mixture({"json": self._train}, seed=seed)

    def validation(self) -> SampleSource | None:
        """The held-out samples."""
        return self._val

    def count(self) -> int:
        """Items of the list."""
        return len(read_items(Path(self.config.json)))

    @override
    def media_folders(self) -> dict[str, str]:
        lists = [self.config.json, *([self.config.val] if self.config.val else [])]
        return {str(Path(file)): self.config.videos for file in lists}

    def texts(self) -> Iterator[str]:
        """Texts to train on."""
        return texts_of(self._train)

    @cached_property
    def _train(self) -> JsonSource:
        return self._opened(self.config.json)

    @cached_property
    def _val(self) -> JsonSource | None:
        return None if self.config.val is None else self._opened(self.config.val)

    def _opened(self, file: str) -> JsonSource:
        return JsonSource(Path(file), Path(self.config.videos), cache=self.cache)
