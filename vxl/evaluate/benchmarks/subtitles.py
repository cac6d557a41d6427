"""Subtitles: SubRip files and LongVideoBench's JSON, and which lines belong to the frames that are shown."""

import html
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vxl.errors import DataError
from vxl.evaluate.benchmarks.tables import read_json
from vxl.patience import read_patiently

_TIMES = re.compile(r"\s*-?[\d:.,]*\d:\d[^>]*-->.*\d")


class Cue(NamedTuple):
    """A line of subtitles: from when to when, in seconds, and its text."""

    start: float
    end: float
    text: str


def read_srt(path: Path, *, first_only: bool = False) -> list[Cue]:
    """The cues of a SubRip file, in the order of their times.

    Args:
        path: The file; a byte-order mark and CRLF are tolerated.
        first_only: Only the first `<font>` text of a cue, as lmms-eval reads them.

    Raises:
        DataError: It can't be read, or holds no cue.
    """
    try:
        text = read_patiently(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as subtitles: {error}.\n  expected: SubRip, UTF-8") from error
    cues = []
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    before = ["1", *lines]
    starts = [
        number
        for number, line in enumerate(lines)
        if _TIMES.match(line) or ("-->" in line and before[number].strip().isdigit())
    ]
    for at, following in pairwise([*starts, len(lines)]):
        start, _, end = lines[at].partition("-->")
        # What stands before the next times is this cue's, but for the next one's number.
        number_of_next = r"\s+$" if following == len(lines) else r"(?:^|\n)\s*\d+\s*$"
        body = re.sub(number_of_next, "", "\n".join(lines[at + 1 : following]))
        fonts = re.findall(r"<font[^>]*>(.*?)</font>", body, re.DOTALL)
        if first_only:
            said = fonts[0] if fonts else ""
        else:
            said = " ".join(fonts) if fonts else re.sub(r"<[^>]+>", "", body)
        said = html.unescape(" ".join(said.split()))
        if said:
            cues.append(Cue(_clock(start, path), _clock(end, path), said))
    if not cues and text.strip():
        raise DataError(
            f"{path} holds no subtitles.\n  expected blocks: number, 00:00:01,200 --> 00:00:03,000, text"
        )
    return sorted(cues, key=lambda cue: cue.start)


def shown_cues(cues: Sequence[Cue], times: Sequence[float]) -> list[str]:
    """Texts of the cues during which a frame is shown, each once, in time's order.

    Args:
        cues: In time's order.
        times: Seconds of the frames.
    """
    return [cue.text for cue in cues if any(cue.start <= second < cue.end for second in times)]


def frame_cues(cues: Sequence[Cue], frames: int, fps: float, count: int) -> list[str]:
    """lmms-eval's rule: cues that hold one of `count` frames spread evenly, counted in whole frames."""
    indices = np.linspace(0, frames - 1, count).astype(int)
    return [cue.text for cue in cues if any(int(cue.start * fps) <= f < int(cue.end * fps) for f in indices)]


def read_lines(path: Path, begins: float, seconds: float) -> list[Cue]:
    """LongVideoBench's JSON subtitles, of either of its two shapes, counted from where the clip begins.

    Args:
        path: The file.
        begins: `starting_timestamp_for_subtitles`.
        seconds: Length of the clip: where a line's end is not given.

    Raises:
        DataError: It can't be read, or has another shape.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path} is a {type(rows).__name__}; expected a list of lines.")
    return [_line(row, begins, seconds, path) for row in rows]


def interleave(cues: Sequence[Cue], times: Sequence[float]) -> list[float | str]:
    """Frames and lines in LongVideoBench's order: a line stands behind the frames up to its middle, and only
    where a frame lies inside it.

    Args:
        cues: In the file's order.
        times: Seconds of the frames, ascending.

    Returns:
        Seconds of frames, and texts.
    """
    frames_and_lines: list[float | str] = []
    following = 0
    for cue in cues:
        start, end = cue.start, cue.end
        middle = (start + end) / 2
        while following < len(times) and times[following] <= middle:
            frames_and_lines.append(times[following])
            following += 1
        if end - start < 1:
            start, end = middle - 0.5, middle + 0.5
        if any(start < second < end for second in times):
            frames_and_lines.append(cue.text)
    return frames_and_lines + list(times[following:])


def _line(row: Any, begins: float, seconds: float, path: Path) -> Cue:
    try:
        if "timestamp" in row:
            start, end = row["timestamp"]
            end = end if isinstance(end, float) else seconds + begins
            return Cue(float(start) - begins, float(end) - begins, str(row["text"]))
        start, end = _clock(row["start"], path), _clock(row["end"], path)
        return Cue(start - begins, end - begins, str(row["line"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: a line is {str(row)[:120]}.\n"
            '  expected: {"timestamp": [1.2, 3.4], "text": "…"}\n'
            '  or {"start": "00:00:01.200", "end": "…", "line": "…"}'
        ) from error


def _clock(text: str, path: Path) -> float:
    match = re.search(r"(?:(\d+):)?(\d+):(\d+)(?:[.,](\d+))?", text)
    if match is None:
        raise DataError(f"{path}: {text.strip()!r} is no time.\n  expected: 00:00:01,200")
    hours, minutes, seconds, part = match.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{part or 0}")
