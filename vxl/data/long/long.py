"""The option `data=long`: writes the scenes once, and makes videos of them as they are asked for."""

import logging
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from vxl.atomic import locked
from vxl.data.base import Data, texts_of
from vxl.data.clips.clips import clips_folder
from vxl.data.long.config import LongConfig
from vxl.data.long.scenes import digest_of, read_scenes, write_scenes
from vxl.data.long.script import Split
from vxl.data.long.source import LongSource, parts
from vxl.data.order.mixture import Mixture

log = logging.getLogger(__name__)

__all__ = ["Long", "LongConfig"]


class Long(Data):
    """Long videos that are never written: only the scenes that they are made of are."""

    config: LongConfig

    def __init__(self, config: LongConfig, *, cache: Path) -> None:
        super().__init__(config, cache=cache)

    def prepare(self) -> None:
        """Writes the scenes where they are not there yet; waits for another process that writes them."""
        if self.place.is_dir():
            return
        began = time.monotonic()
        self.cache.mkdir(parents=True, exist_ok=True)
        with locked(self.cache / ".long.lock"):
            if not self.place.is_dir():
                log.info("writing the scenes of long videos to %s (once)", self.place)
                write_scenes(self.place, self.folder, *self._scenes_settings)
                log.info("wrote them in %.1f s", time.monotonic() - began)

    def training(self, seed: int) -> Mixture:
        """The samples to train on."""
        return Mixture({"long": self.source("train")}, seed=seed)

    def validation(self) -> LongSource:
        """The held-out questions; their `source` is their kind."""
        return self.source("held_out")

    def count(self) -> int:
        """Samples to train on."""
        return self.config.videos * len(parts(self.config, "train"))

    def texts(self) -> Iterator[str]:
        """Texts to train on."""
        return texts_of(self.source("train"))

    @property
    def folder(self) -> Path:
        """The folder of the clips."""
        return clips_folder(self.config.folder)

    @cached_property
    def place(self) -> Path:
        """Where the scenes are; named by what they are made of, and by the code that makes them."""
        return self.cache / f"long-{digest_of(self.folder, *self._scenes_settings)}"

    def source(self, split: Split) -> LongSource:
        """A part of the data."""
        videos = self.config.videos if split == "train" else self.config.held_out_videos
        return LongSource(self.config, split, read_scenes(self.place, split), videos)

    @property
    def _scenes_settings(self) -> tuple[int, float, float]:
        return self.config.drawing_seed, self.config.needle_seconds, self.config.needle_size
