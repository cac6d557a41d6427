"""The option `data=clips`: the embedded real clips and drawn ones, as shards with questions.

Real clips are asked about by their captions, timed segments and given questions (questions.py); drawn ones
add what a tiny model can learn to see (drawn.py). Both are cut, encoded and written once into the cache.
"""

import io
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from string import ascii_uppercase
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F

from vxl.atomic import locked, whole_folder
from vxl.data.base import Data, DataConfig, texts_of
from vxl.data.clips import drawn, questions
from vxl.data.order.mixture import Mixture
from vxl.data.sample import Question
from vxl.data.source.source import IndexedShards
from vxl.data.write.shards import TarMember, write_shards
from vxl.errors import ConfigError
from vxl.option.files import CLIPS
from vxl.option.option import option
from vxl.video.decode import decode
from vxl.video.encode import write_video
from vxl.video.probe import probe

log = logging.getLogger(__name__)

WIDTH = 128
"""Real clips are written this wide, in pixels."""
FPS = 4
"""Frames a second of all clips as written: as many as are ever sampled of a short one."""
GOP = 8
SHARD_BYTES = 1 << 20
HELD_OUT = 20
"""Held-out drawn clips of each kind."""


@dataclass(frozen=True, kw_only=True)
class ClipsConfig(DataConfig):
    """Embedded clips and drawn ones, written as shards on first use."""

    benchmark: ClassVar[str | None] = "clips"
    _target_: str = "vxl.data.clips.Clips"
    folder: str | None = option(None, resumable=True)
    """Folder with clips.json and the videos it names; null = examples/clips of the repository."""
    drawn: int = 32
    """Drawn clips to train on, of each kind of question (colour, direction, count, first_colour)."""
    drawing_seed: int = 0
    """Seed of the drawn clips, of the options' order and of what is held out. It is not the run's."""

    def __post_init__(self) -> None:
        """Drawn clips may be none, not fewer."""
        super().__post_init__()
        if self.drawn < 0:
            raise ConfigError(f"drawn={self.drawn} is too small.\n  allowed: 0 or more")


class Clips(Data):
    """The clips in the cache."""

    config: ClipsConfig

    def __init__(self, config: ClipsConfig, *, cache: Path) -> None:
        super().__init__(config, cache=cache)

    def prepare(self) -> None:
        """Writes the shards where they are not there yet; waits for another process that writes them."""
        if (self.place / "train").is_dir():
            return
        began = time.monotonic()
        self.cache.mkdir(parents=True, exist_ok=True)
        with locked(self.cache / ".clips.lock"):
            if (self.place / "train").is_dir():
                return
            log.info("writing the example clips to %s (once)", self.place)
            with whole_folder(self.place) as folder:
                for part, members in self._members().items():
                    write_shards(members, folder / part, max_bytes=SHARD_BYTES)
            for part in ("train", "held_out"):
                self._source(part)  # writes the indexes, under the lock
        log.info("wrote them in %.1f s", time.monotonic() - began)

    def training(self, seed: int) -> Mixture:
        """The samples to train on."""
        return Mixture({"clips": self._source("train")}, seed=seed)

    def validation(self) -> IndexedShards:
        """The held-out questions; their `source` is their kind."""
        return self._source("held_out")

    def count(self) -> int | None:
        """Samples of the clips, where they were written before."""
        return len(self._source("train")) if (self.place / "train").is_dir() else None

    def texts(self) -> Iterator[str]:
        """Texts to train on."""
        return texts_of(self._source("train"))

    @cached_property
    def folder(self) -> Path:
        """The folder of the real clips.

        Raises:
            ConfigError: It is not there.
        """
        folder = clips_folder(self.config.folder)
        if not (folder / "clips.json").exists():
            raise ConfigError(
                f"data=clips finds no {folder / 'clips.json'}.\n"
                "  it is part of the repository; name its folder:  data.folder=FOLDER"
            )
        return folder

    @cached_property
    def place(self) -> Path:
        """Where the shards are; named by what they are made of, and by the code that makes them."""
        digest = blake2b(digest_size=6)
        digest.update(repr((self.config.drawn, self.config.drawing_seed)).encode())
        code = [Path(str(module.__file__)) for module in (drawn, questions)] + [Path(__file__)]
        for path in [*code, *sorted(self.folder.iterdir())]:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            if path.suffix in (".py", ".json"):
                digest.update(path.read_bytes())
        return self.cache / f"clips-{digest.hexdigest()}"

    def _source(self, part: str) -> IndexedShards:
        return IndexedShards(str(self.place / part / "*.tar"), cache=self.cache)

    def _members(self) -> dict[str, list[TarMember]]:
        """What to write: {"train": members, "held_out": members}, shuffled."""
        seed = self.config.drawing_seed
        parts: dict[str, list[TarMember]] = {"train": [], "held_out": []}
        for part, members in zip(parts.values(), self._real(seed), strict=True):
            part += members
        for kind in drawn.KINDS:
            parts["train"] += draw(kind, self.config.drawn, seed, "train")
            parts["held_out"] += draw(kind, HELD_OUT, seed, "held_out") if self.config.drawn else []
        return parts

    def _real(self, seed: int) -> tuple[list[TarMember], list[TarMember]]:
        """Members of the real clips: (training, held out)."""
        clips = json.loads((self.folder / "clips.json").read_text())
        whole = {clip["video"]: read_small(self.folder / clip["video"]) for clip in clips}
        described = [caption for clip in clips for caption in captions(clip, whole[clip["video"]])]
        training, held_out = questions.split(questions.questions_about(clips, seed), seed)
        members = [*described, *asked_openly(training, whole), *asked_about(training, whole)]
        return members, list(asked_about(held_out, whole))


def clips_folder(folder: str | None) -> Path:
    """The folder of that name, or that of the embedded clips; it need not be there."""
    return CLIPS if folder is None else Path(folder)


def captions(clip: dict[str, Any], frames_FHWC: np.ndarray) -> Iterator[TarMember]:
    """A clip and each of its segments, with what they show."""
    name = Path(clip["video"]).stem
    text = {"caption": clip["caption"], "segments": clip["segments"], "source": "caption"}
    yield TarMember(f"{name}-caption", {"mp4": encode_clip(frames_FHWC), "json": text})
    for number, segment in enumerate(clip["segments"]):
        cut_FHWC = cut_clip(frames_FHWC, segment["start"], segment["end"])
        text = {"caption": segment["text"], "source": "caption"}
        yield TarMember(f"{name}-segment-{number:02d}", {"mp4": encode_clip(cut_FHWC), "json": text})


def asked_openly(
    about_clips: Sequence[questions.AskedQuestion], whole: dict[str, np.ndarray]
) -> Iterator[TarMember]:
    """The given questions once more without their options, so that the model also answers in words."""
    written_questions = [one for one in about_clips if one.kind == "given"]
    for number, one in enumerate(written_questions):
        right = one.question.options[ascii_uppercase.index(one.question.answer)]
        turns = [
            {"from": "human", "value": f"<image>\n{one.question.question}"},
            {"from": "gpt", "value": right},
        ]
        text = {"conversations": turns, "source": "open"}
        name = f"{Path(one.video).stem}-open-{number:02d}"
        yield TarMember(name, {"mp4": encode_clip(whole[one.video]), "json": text})


def asked_about(
    about_clips: Sequence[questions.AskedQuestion], whole: dict[str, np.ndarray]
) -> Iterator[TarMember]:
    """Questions about real clips: a member for each kind and for each part of a clip that is shown."""
    groups: dict[tuple[Any, ...], list[Question]] = {}
    for one in about_clips:
        groups.setdefault((one.video, one.kind, one.start, one.end), []).append(one.question)
    for (video, kind, start, end), group in groups.items():
        part = "" if start is None else f"-{10 * start:04.0f}"
        text = {"questions": [question_as_json(question) for question in group], "source": kind}
        frames_FHWC = cut_clip(whole[video], start, end)
        yield TarMember(f"{Path(video).stem}-{kind}{part}", {"mp4": encode_clip(frames_FHWC), "json": text})


def draw(kind: str, count: int, seed: int, part: str) -> Iterator[TarMember]:
    """Drawn clips of a kind, each with its question."""
    for number, clip in enumerate(drawn.draw_clips(kind, count, seed, part)):
        text = {"questions": [question_as_json(clip.question)], "source": kind}
        yield TarMember(
            f"drawn-{kind}-{number:03d}", {"mp4": encode_clip(clip.frames_FHWC, drawn.FPS), "json": text}
        )


def question_as_json(question: Question) -> dict[str, Any]:
    """A question as in a sample's JSON."""
    return {
        "question": question.question,
        "options": list(question.options),
        "answer": question.answer,
    }


def read_small(path: Path) -> np.ndarray:
    """A video at FPS frames a second and WIDTH pixels across, as uint8 frames_FHWC."""
    info = probe(path)
    count = int(info.seconds * FPS)
    indices = np.minimum(np.round(np.arange(count) * info.fps / FPS), info.frames - 1).astype(np.int64)
    frames_FCHW = decode(path, indices)
    height = round(info.height * WIDTH / info.width / 2) * 2
    small_FCHW = F.interpolate(frames_FCHW, size=(height, WIDTH), mode="bicubic", antialias=True)
    return small_FCHW.permute(0, 2, 3, 1).contiguous().numpy()


def cut_clip(frames_FHWC: np.ndarray, start: float | None, end: float | None) -> np.ndarray:
    """The frames between two times in seconds; at least one."""
    first = 0 if start is None else min(round(start * FPS), len(frames_FHWC) - 1)
    last = len(frames_FHWC) if end is None else round(end * FPS)
    return frames_FHWC[first : max(last, first + 1)]


def encode_clip(frames_FHWC: np.ndarray, fps: int = FPS) -> bytes:
    """The frames as H.264 in an mp4 file."""
    file = io.BytesIO()
    write_video(file, frames_FHWC, fps, gop=GOP, bframes=0)
    return file.getvalue()
