"""What one training sample is, and how it is read from the JSON beside the media.

A member of a shard (or an item of a JSON list) may hold several samples: the conversation (or the caption),
then one for every multiple-choice question. All of them show the same visuals.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from vxl.data.fields import bare_options, listed, number_of, opening_turns, scale_of, timed_texts
from vxl.errors import DataError
from vxl.video.frame_times import unpack_times

if TYPE_CHECKING:  # late: torch takes 2 s, and writing shards needs none of it
    from vxl.video.virtual import Virtual

Media = str | bytes | BinaryIO
"""Where a visual's bytes are: a path, the bytes themselves, or an open file that can seek."""

PLACEHOLDER = "<image>"
"""Stands where a visual (video or image) goes in a user's turn; the n-th one is the sample's n-th visual."""

CAPTION_PROMPT = {"video": "Describe this video in detail.", "image": "Describe this image in detail."}
"""What the user says in a sample that has only a caption."""

TEXTS = ("conversations", "caption", "questions")
"""Keys of a sample's JSON that hold text to learn from."""

USER_NAMES, ASSISTANT_NAMES = ("user", "human"), ("assistant", "gpt")
EXAMPLE = '{"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


@dataclass(frozen=True)
class Turn:
    """One utterance of a conversation."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True)
class Question:
    """A multiple-choice question; `answer` is the letter of the right option ("A" is the first)."""

    question: str
    options: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Segment:
    """What happens between two times (seconds) of the video."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Visual:
    """A video or an image, as its header describes it (nothing is decoded to know this)."""

    kind: Literal["video", "image"]
    name: str
    frames: int = 1
    fps: float = 1.0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    start: float | None = None
    end: float | None = None
    begins: float = 0.0
    stamps: str = ""

    @property
    def times_F(self) -> np.ndarray | None:
        """Seconds of each frame from the first; None where they come evenly (see `VideoInfo`)."""
        return unpack_times(self.stamps) if self.stamps else None


@dataclass(frozen=True)
class Sample:
    """What the model is trained on: a conversation, or a question with options, about some visuals.

    `turns` is empty where `question` is set (the prompt format writes it). Otherwise turns alternate user,
    assistant, and the user's turns hold exactly one PLACEHOLDER for each visual, in order.
    """

    key: str
    turns: tuple[Turn, ...] = ()
    visuals: tuple[Visual, ...] = ()
    question: Question | None = None
    source: str = ""
    scale: float | None = None
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class SampleWithMedia:
    """A sample with its media, one for each of `sample.visuals`, not decoded yet."""

    sample: Sample
    media: "tuple[Media | Virtual, ...]" = ()


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be used. It keeps its place in the order, with its labels masked."""

    shard: str
    key: str
    reason: str
    kind: Literal["sample", "media", "settings", "gone"] = "sample"
    """The text is wrong, the media can't be read, it is too long as this run is set, or the shard is gone."""


def parse(text: Mapping[str, Any], visuals: Sequence[Visual], *, shard: str, key: str) -> list[Sample]:
    """Reads a member's JSON.

    Args:
        text: The JSON object (or `{"caption": ...}` for a KEY.txt).
        visuals: What the member shows, in order.
        shard: Where the member is (a tar or a JSON file), for messages.
        key: The member's name.

    Returns:
        The samples: the conversation or caption first, then one a question (`KEY#0`, `KEY#1`, ...).

    Raises:
        DataError: With shard, key and what to write instead.
    """
    where = f"{shard}, sample '{key}'"
    if not isinstance(text, Mapping):
        kind = type(text).__name__
        raise DataError(f"{where}: the JSON is a {kind}, not an object.\n  write e.g.  {EXAMPLE}")
    bare = Sample(
        key,
        visuals=_cut(visuals, text, where),
        source=str(text.get("source") or ""),
        scale=scale_of(text.get("scale"), where),
        segments=tuple(Segment(*part) for part in timed_texts(listed(text, "segments", where), where)),
    )
    samples = []
    if text.get("conversations"):
        turns = place_visuals(_turns(text["conversations"], where), len(visuals), where)
        samples.append(replace(bare, turns=turns))
    elif text.get("caption"):
        samples.append(replace(bare, turns=_caption(text["caption"], visuals, where)))
    for number, item in enumerate(listed(text, "questions", where)):
        question = _question(item, number, len(visuals), where)
        samples.append(replace(bare, key=f"{key}#{number}", question=question))
    if not samples:
        keys = ", ".join(sorted(text)) or "none"
        raise DataError(
            f"{where}: the JSON has no 'conversations', 'caption' or 'questions' with something in it.\n"
            f"  got the keys: {keys}\n  write e.g.  {EXAMPLE}"
        )
    return samples


def place_visuals(turns: Sequence[Turn], visuals: int, where: str) -> tuple[Turn, ...]:
    """Makes the placeholders of a conversation one for each visual.

    `<video>` counts as a placeholder. Where none is written, all visuals come first, each on a line of its
    own.
    """
    texts = [
        turn.text.replace("<video>", PLACEHOLDER) if turn.role == "user" else turn.text for turn in turns
    ]
    counts = [text.count(PLACEHOLDER) for text in texts]
    stray = next((n for n, turn in enumerate(turns) if turn.role == "assistant" and counts[n]), None)
    if stray is not None:
        raise DataError(
            f"{where}: turn {stray + 1} is the assistant's and holds {PLACEHOLDER}.\n"
            f"  write {PLACEHOLDER} only in the user's turns"
        )
    if sum(counts) == 0:
        texts[0] = f"{PLACEHOLDER}\n" * visuals + texts[0]
    elif sum(counts) != visuals:
        whole_text = "".join(turn.text for turn in turns)
        marks = " and ".join(mark for mark in (PLACEHOLDER, "<video>") if mark in whole_text)
        raise DataError(
            f"{where}: {sum(counts)} {marks} in the turns, but {visuals} visuals (videos or images).\n"
            f"  write one {PLACEHOLDER} for each visual, or none at all (they then come first);\n"
            "  visuals are KEY.mp4, KEY.jpg, ... in a tar, and the keys image(s) and video(s) of a JSON list"
        )
    return tuple(Turn(turn.role, text) for turn, text in zip(turns, texts, strict=True))


def _turns(items: Any, where: str) -> list[Turn]:
    """Turns of either spelling: role/content with user/assistant, or from/value with human/gpt."""
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise DataError(f"{where}: 'conversations' is a {type(items).__name__}.\n  write e.g.  {EXAMPLE}")
    turns: list[Turn] = []
    roles = [item.get("role", item.get("from")) if isinstance(item, Mapping) else None for item in items]
    first = opening_turns(roles, ASSISTANT_NAMES, where)
    for number, (item, role) in enumerate(zip(items[first:], roles[first:], strict=True), first + 1):
        words = item.get("content", item.get("value")) if isinstance(item, Mapping) else None
        if not isinstance(words, str) or (role in ASSISTANT_NAMES and not words.strip()):
            raise DataError(
                f"{where}: turn {number} has no text.\n  got: {str(item)[:120]}\n  write e.g.  {EXAMPLE}"
            )
        if role not in USER_NAMES + ASSISTANT_NAMES:
            hint = "\n  a system prompt is set once for all:  prompt.system=..." if role == "system" else ""
            raise DataError(
                f"{where}: turn {number} has the role {role!r}.\n"
                f"  allowed: user and assistant (or human and gpt), in turns{hint}"
            )
        expected = "user" if len(turns) % 2 == 0 else "assistant"
        got: Literal["user", "assistant"] = "user" if role in USER_NAMES else "assistant"
        if got != expected:
            raise DataError(
                f"{where}: turn {number} is the {got}'s; the {expected}'s was due.\n"
                "  write user and assistant in turns, the user first"
            )
        turns.append(Turn(got, words))
    if len(turns) % 2:
        raise DataError(
            f"{where}: {len(turns)} turns, the last one the user's: there is nothing to learn from it.\n"
            "  add the assistant's answer, or drop the last turn"
        )
    return turns


def _caption(caption: Any, visuals: Sequence[Visual], where: str) -> tuple[Turn, ...]:
    if not isinstance(caption, str):
        raise DataError(f"{where}: 'caption' is a {type(caption).__name__}.\n  write a string")
    if not visuals:
        raise DataError(
            f"{where}: a caption without a video or an image.\n"
            "  add KEY.mp4 (.webm .mkv .jpg .png), or write 'conversations' for text alone"
        )
    if not caption.strip():
        raise DataError(f"{where}: 'caption' is blank.\n  write what is shown")
    prompt = CAPTION_PROMPT["video" if any(visual.kind == "video" for visual in visuals) else "image"]
    return place_visuals([Turn("user", prompt), Turn("assistant", caption.strip())], len(visuals), where)


def _question(item: Any, number: int, visuals: int, where: str) -> Question:
    form = '{"question": "...", "options": ["...", "..."], "answer": "A"}'
    if not isinstance(item, Mapping) or {"question", "options", "answer"} - set(item):
        raise DataError(
            f"{where}: question {number} is not complete.\n  got: {str(item)[:120]}\n  write  {form}"
        )
    options, answer = item["options"], item["answer"]
    is_list = isinstance(options, Sequence) and not isinstance(options, str)
    if not (is_list and 2 <= len(options) <= 26 and all(isinstance(option, str) for option in options)):
        raise DataError(
            f"{where}: question {number} needs a list of 2 to 26 options, all strings.\n"
            f"  got: {str(options)[:120]}\n  write  {form}"
        )
    letters = ascii_uppercase[: len(options)]
    if not isinstance(answer, str) or len(answer) != 1 or answer not in letters:
        raise DataError(
            f"{where}: question {number} has the answer {answer!r}.\n"
            f"  allowed: the letter of an option, one of {', '.join(letters)}"
        )
    if not isinstance(item["question"], str):
        raise DataError(
            f"{where}: question {number} is no text: {str(item['question'])[:120]}.\n  write  {form}"
        )
    question = item["question"].replace("<video>", PLACEHOLDER)
    marks = question.count(PLACEHOLDER)
    if marks not in (0, visuals) or any(
        mark in words for words in options for mark in (PLACEHOLDER, "<video>")
    ):
        raise DataError(
            f"{where}: question {number} has {marks} {PLACEHOLDER} or <video> for {visuals} visuals.\n"
            "  leave them out: what a question is about is shown before it"
        )
    return Question(re.sub(rf"[ \t]*{PLACEHOLDER}[ \t]*\n?", "", question), bare_options(options), answer)


def _cut(visuals: Sequence[Visual], text: Mapping[str, Any], where: str) -> tuple[Visual, ...]:
    """Applies the JSON's optional `start` and `end` (seconds): only this part of the videos is shown."""
    given = {name: text[name] for name in ("start", "end") if text.get(name) not in (None, "")}
    if not given:
        return tuple(visuals)
    start = number_of(given.get("start", 0.0), "start", where)
    end = number_of(given["end"], "end", where) if "end" in given else None
    if start < 0 or (end is not None and end <= start):
        raise DataError(
            f"{where}: start={start} and end={end} leave no video.\n  write seconds with start < end"
        )
    return tuple(
        replace(visual, start=start, end=end) if visual.kind == "video" else visual for visual in visuals
    )
