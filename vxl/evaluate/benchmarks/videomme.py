"""Video-MME (Fu et al. 2024, arXiv 2405.21075): short, medium and long videos, with or without subtitles."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.errors import DataError
from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import Counts, letter_number, strings
from vxl.evaluate.benchmarks.official import Official, OfficialConfig
from vxl.evaluate.benchmarks.subtitles import frame_cues, read_srt, shown_cues
from vxl.evaluate.benchmarks.tables import field, one_file, read_rows, texts
from vxl.evaluate.item import BenchmarkItem, PromptParts, choice
from vxl.patience import is_file
from vxl.video.probe import probe

_FILES = (
    "test-00000-of-00001.parquet",
    "videomme/test-00000-of-00001.parquet",
    "videomme.json",
    "videomme.jsonl",
)


@dataclass(frozen=True, kw_only=True)
class VideoMmeConfig(OfficialConfig):
    """Video-MME without subtitles: 2700 questions on 900 videos, 300 each short, medium and long.

    Data: `lmms-lab/Video-MME`, Parquet (needs `vxl[parquet]`), `data/<videoID>.mp4`; academic use only.
    Numbers: accuracy over all questions (chance 25 %), by duration, domain, category and task.
    """

    _target_: str = "vxl.evaluate.benchmarks.videomme.VideoMme"


@dataclass(frozen=True, kw_only=True)
class VideoMmeSubtitlesConfig(VideoMmeConfig):
    """Video-MME with subtitles: the same questions, each behind what is said while frames are shown.

    Data: as benchmark=videomme, and `subtitle/<videoID>.srt` (744 of 900 videos have one).
    """

    _target_: str = "vxl.evaluate.benchmarks.videomme.VideoMmeSubtitles"


class VideoMme(Official[VideoMmeConfig]):
    """Video-MME without subtitles."""

    name = "videomme"
    home = "https://huggingface.co/datasets/lmms-lab/Video-MME"
    licence = "academic use only"
    revision = "2024-06-15"
    presets = ("lmms", "official", "videoxl", "videoxl2")
    counts = Counts(
        2700,
        900,
        golds={"A": 677, "B": 735, "C": 684, "D": 604},
        options={4: 2700},
        kinds={"short": 900, "medium": 900, "long": 900},
    )

    def __init__(self, config: VideoMmeConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def read(self, place: Path) -> list[BenchmarkItem]:
        """Items of the Parquet file, or of the same rows as JSON."""
        path = one_file(place, _FILES)
        return [self._item(row, n, f"{path}, row {n}") for n, row in enumerate(read_rows(path))]

    def _item(self, row: dict[str, Any], number: int, where: str) -> BenchmarkItem:
        printed = texts(field(row, "options", where), where)
        options = tuple(re.sub(r"^[A-D]\.\s*", "", option) for option in printed)
        gold, accepted = choice(options, letter_number(field(row, "answer", where), options, where))
        key = str(field(row, "question_id", where))
        if len(accepted) > 1:
            self.mended.append(f"{key}: the answer is there twice, both count")
        video = str(field(row, "videoID", where))
        names = ("duration", "domain", "sub_category", "task_type")
        return BenchmarkItem(
            key=key,
            index=number,
            video=video,
            cluster=video,
            kind=str(field(row, "duration", where)),
            labels={name: (str(row.get(name, "")),) for name in names},
            question=str(field(row, "question", where)),
            options=options,
            printed=printed,
            gold=gold,
            accepted=accepted,
            seconds={"short": 80.0, "medium": 520.0, "long": 2500.0}.get(str(row["duration"]), 0.0),
        )

    def names_of(self, item: BenchmarkItem) -> tuple[str, ...]:
        """`videos` may be the released folder or the one above it."""
        return item.video, f"data/{item.video}"

    def word(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> PromptParts:
        """lmms-eval's (Video-XL-2: with the options as a Python list), or the authors'."""
        texts = strings()
        if preset == "official":
            options = "\n".join(item.printed)
            head = texts["videomme.official.header"]
            return PromptParts(f"{head}\n{item.question}\n{options}\n{texts['videomme.official.end']}")
        options = _printed(item, preset)
        head, post = texts["videomme.lmms.header"], texts["videomme.lmms.post"]
        return PromptParts(f"{head}\n{item.question}\n{options}\n{post}")

    def legacy(self, item: BenchmarkItem, text: str) -> str | None:
        """As published: the first of A to D behind the prefixes."""
        return legacy.video_mme(text)


class VideoMmeSubtitles(VideoMme):
    """Video-MME with the subtitles of the frames that are shown."""

    name = "videomme_subtitles"
    needs_times = True

    def __init__(self, config: VideoMmeSubtitlesConfig, *, data: dict[str, Any], cache: Path) -> None:
        super().__init__(config, data=data, cache=cache)

    def ask(self, item: BenchmarkItem, preset: str, times: Sequence[float] = ()) -> PromptParts:
        """The question behind the subtitles."""
        subtitles = self._said(item, preset, times)
        text = strings()
        if preset == "official":
            prompt = super().ask(item, preset, times)
            return PromptParts(f"This video's subtitles are listed below:\n{subtitles}\n{prompt.user}")
        if preset == "vxl":
            prompt = super().ask(item, preset, times)
            return PromptParts(f"Subtitles:\n{subtitles}\n{prompt.user}")
        return PromptParts(
            text["videomme.lmms.subtitles"].format(
                subtitles=subtitles,
                header=text["videomme.lmms.header"],
                question=item.question,
                options=_printed(item, preset),
            )
        )

    def _said(self, item: BenchmarkItem, preset: str, times: Sequence[float]) -> str:
        """The lines during the frames that are shown, or the published words where a video has none.

        `scoring=legacy`: lmms-eval's lines, those of 32 (Video-XL-2: 128) frames of its own choice.
        """
        folder = Path(self.config.subtitles or "").expanduser()
        candidates = [folder / f"{item.video}.srt", folder / "subtitle" / f"{item.video}.srt"]
        path = next((path for path in candidates if is_file(path)), None)
        if path is None:
            return "No subtitles available"
        legacy_rule = self.config.scoring == "legacy"
        cues = read_srt(path, first_only=legacy_rule)
        video = self.file_of(item) if legacy_rule and self.config.videos else None
        if video is not None and not video.is_dir():
            info = probe(str(video))
            lines = frame_cues(cues, info.frames, info.fps, 128 if preset == "videoxl2" else 32)
        else:
            lines = shown_cues(cues, times)
        return "\n".join(lines) if lines else "No subtitles available"

    def protocol(self) -> dict[str, Any]:
        """Whose rule chooses the lines: they are part of the prompt."""
        return super().protocol() | {"subtitles": "lmms" if self.config.scoring == "legacy" else "shown"}

    def items(self) -> list[BenchmarkItem]:
        """The items; the folder of subtitles must be there.

        Raises:
            DataError: It is not.
        """
        folder = self.config.subtitles
        if folder is None or not Path(folder).expanduser().is_dir():
            raise DataError(
                f"benchmark=videomme_subtitles: {folder or 'no folder'} of subtitles.\n"
                "  type  benchmark.subtitles=FOLDER   (the released subtitle/), or ask without:  "
                "benchmark=videomme"
            )
        items = super().items()
        places = (Path(folder).expanduser(), Path(folder).expanduser() / "subtitle")
        without = {i.video for i in items if not any(is_file(p / f"{i.video}.srt") for p in places)}
        self.notes.append(f"{len(without)} of {len({item.video for item in items})} videos have no subtitles")
        return items


def _printed(item: BenchmarkItem, preset: str) -> str:
    """Options as the file has them, a line each; Video-XL-2's code prints the Python list."""
    return str(list(item.printed)) if preset == "videoxl2" else "\n".join(item.printed)
