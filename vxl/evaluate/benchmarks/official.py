"""Published benchmarks: the authors' files as they are, their known defects, prompts and metrics."""

import abc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from typing_extensions import override

from vxl.data.batch.letter import parse_letter
from vxl.errors import ConfigError, DataError, one_line
from vxl.evaluate import prompts
from vxl.evaluate.benchmark import Benchmark, BenchmarkConfig
from vxl.evaluate.benchmarks.annotations import Counts
from vxl.evaluate.benchmarks.tables import find_video
from vxl.evaluate.fingerprint import hash_annotations
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.scoring import Graded
from vxl.generate.loaded import Clip
from vxl.video.virtual import FrameFolder

ANOTHER = "another revision, or not complete"
"""How a note begins where counts are not those of the authors' file."""
Preset = Literal["auto", "vxl", "lmms", "official", "videoxl", "videoxl_pro", "videoxl2"]


@dataclass(frozen=True, kw_only=True)
class OfficialConfig(BenchmarkConfig):
    """Keys of every published benchmark."""

    annotations: str | None = None
    """The authors' annotation file, or the folder that holds it."""
    videos: str | None = None
    """Folder of the videos."""
    subtitles: str | None = None
    """Folder of the subtitles, for benchmarks that have them."""
    prompt: Preset = "auto"
    """Whose wording: vxl, lmms (lmms-eval), official (the authors), videoxl, videoxl_pro, videoxl2; auto:
    that of the weights' family, else lmms."""
    scoring: Literal["correct", "legacy"] = "correct"
    """How answers are read: by one rule for all benchmarks, or as the published code read them."""
    missing: Literal["error", "skip"] = "error"
    """What to do where videos are not there: stop before the model is loaded, or score the rest and say
    so."""


C = TypeVar("C", bound=OfficialConfig)


class Official(Benchmark, abc.ABC, Generic[C]):
    """A published benchmark.

    Args:
        config: Its settings.
        data: The evaluated run's data option (its benchmark is never trained on here).
        cache: Folder of prepared data.
    """

    config: C
    home: ClassVar[str]
    """Where the data set comes from."""
    licence: ClassVar[str]
    revision: ClassVar[str] = ""
    """Of the annotations that the counts were taken from."""
    presets: ClassVar[tuple[str, ...]] = ("vxl", "lmms")
    max_new_tokens: int | None = 16
    known_missing: ClassVar[frozenset[str]] = frozenset()
    """Videos that can't be had any more."""
    counts: Counts | None = None
    """Of the complete annotations."""

    def __init__(self, config: C, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    @abc.abstractmethod
    def read(self, place: Path) -> list[BenchmarkItem]:
        """The items of the authors' files; notes what it mends and drops.

        Raises:
            DataError: A file is not there, cut off, or not of the expected shape.
        """

    def items(self) -> list[BenchmarkItem]:
        """The items in the authors' order."""
        self.mended, self.dropped, self.notes = [], [], []
        try:
            items = self.read(self.place)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"benchmark={self.name}: {self.place} is not of the shape that the authors' files have "
                f"({type(error).__name__}: {one_line(str(error))[:200]}).\n  fetch it again: {self.home}"
            ) from error
        if not items:
            raise DataError(f"benchmark={self.name}: {self.place} holds no question.")
        doubled = [key for key, count in Counter(item.key for item in items).items() if count > 1]
        if doubled:
            raise DataError(f"benchmark={self.name}: two questions have the key {doubled[0]!r}.")
        if self.counts is not None:
            differences = self.counts.differences(Counts.of(items))
            self.notes += [f"{ANOTHER}: {'; '.join(differences)}"] if differences else []
        return items

    @property
    def place(self) -> Path:
        """The annotation file or folder.

        Raises:
            ConfigError: None is given.
        """
        if not self.config.annotations:
            raise ConfigError(
                f"benchmark={self.name} needs the authors' annotations: {self.home}\n"
                f"  licence: {self.licence}\n  type  benchmark.annotations=FILE_OR_FOLDER "
                "benchmark.videos=FOLDER"
            )
        return Path(self.config.annotations).expanduser()

    @property
    @override
    def skips_missing(self) -> bool:
        return self.config.missing == "skip"

    def file_of(self, item: BenchmarkItem) -> Path | None:
        """An item's video; None where it is not there.

        Raises:
            ConfigError: No folder of videos is given.
        """
        if not self.config.videos:
            raise ConfigError(
                f"benchmark={self.name}: where are the videos?\n  type  benchmark.videos=FOLDER"
            )
        folder = Path(self.config.videos).expanduser()
        for name in self.names_of(item):
            video = find_video(folder, name)
            if video is not None:
                return video
        return None

    def part_of(self, item: BenchmarkItem) -> tuple[float | None, float | None]:
        """The seconds of its video that an item shows; None for the ends."""
        return item.start, item.end

    def looks(self, item: BenchmarkItem) -> list[Clip]:
        """The item's video, or the part of it that is shown.

        Raises:
            DataError: It is not there.
        """
        file = self.file_of(item)
        if file is None:
            raise DataError(f"benchmark={self.name}: the video {item.video} is not in {self.config.videos}.")
        start, end = self.part_of(item)
        media = FrameFolder(file) if file.is_dir() else str(file)
        return [Clip(media, "video", start, end, item.video)]

    def unit(self, item: BenchmarkItem) -> str:
        """The video, its part, and the system turn, which stands before it."""
        part = "" if item.start is None and item.end is None else f"#{item.start}-{item.end}"
        return f"{item.video}{part}" + ("" if item.asks == "choice" else f" {item.asks}")

    def missing(self, items: Sequence[BenchmarkItem]) -> list[BenchmarkItem]:
        """Items whose video is not there."""
        there: dict[tuple[str, str], bool] = {}
        for item in items:
            place = (item.video, item.kind)
            if place not in there:
                there[place] = self.file_of(item) is not None
        return [item for item in items if not there[item.video, item.kind]]

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """Names under which an item's video may lie below `videos`, the likeliest first."""
        return (item.video,)

    def is_known_missing(self, item: BenchmarkItem) -> bool:
        """Whether an item's video can't be had any more."""
        return item.cluster in self.known_missing

    def preset(self, family: str | None = None) -> str:
        """The preset in use; `auto` is that of the weights' family, else lmms-eval's.

        Raises:
            ConfigError: The benchmark has no such wording.
        """
        preset = self.config.prompt
        if preset == "auto":
            preset = family if family in self.presets else "lmms"
        if preset == "videoxl_pro":
            preset = "videoxl"  # no evaluation code of Video-XL-Pro was released
        if preset == "vxl" or preset in self.presets:
            return preset
        raise ConfigError(
            f"benchmark.prompt={self.config.prompt}: {self.name} has no such wording.\n"
            f"  allowed: {', '.join(dict.fromkeys(['auto', 'vxl', *self.presets]))}"
        )

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """The prompt of an item.

        Args:
            item: The item.
            preset: One of `presets`.
            times: Seconds of the frames that are shown, where the benchmark needs them.
        """
        return prompts.vxl(item) if preset == "vxl" else self.word(item, preset, times)

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """The prompt in another wording than vxl's."""
        return prompts.letter_dots(item)

    def grade(self, item: BenchmarkItem, text: str, prefill: str = "", *, tokens: int = 0) -> Graded:
        """Reads and scores an answer."""
        correct = self.config.scoring == "correct"
        letter = parse_letter(text, item.options, prefill) if correct else self.legacy(item, text)
        accepted = item.accepted if correct else self.legacy_accepted(item)
        return Graded.of(item, text, letter, accepted=accepted, tokens=tokens)

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """The letter that the published code would have compared."""
        raise ConfigError(
            f"benchmark.scoring=legacy: {self.name}'s published reader of answers is not known here.\n"
            "  type  benchmark.scoring=correct"
        )

    def legacy_accepted(self, item: BenchmarkItem) -> tuple[str, ...]:
        """The one letter that published code took as right, doubled options or not."""
        return (item.gold,)

    def protocol(self) -> dict[str, Any]:
        """What scores depend on besides the model: the annotations, the wording, the reader of answers."""
        return {
            "benchmark": self.name,
            "annotations": hash_annotations(self.place),
            "revision": self.revision,
            "scoring": self.config.scoring,
        }
