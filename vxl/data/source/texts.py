"""The text beside media, as it comes from files: JSON that may hold anything, checked where it is read."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vxl.errors import DataError
from vxl.json_text import doubled_key, parse_json

_HALF = re.compile("[\ud800-\udfff]")
_MARKS = re.compile("<(image|video)>")

MOST_TEXT = 64 << 20
"""Bytes of one sample's JSON or text."""


def read_text(words: str, where: str) -> Any:
    """The value of a JSON text.

    Args:
        words: The JSON; a byte-order mark in front is passed over.
        where: What it is, for messages.

    Raises:
        DataError: It is no JSON, or spoilt (`refuse_spoilt`).
    """
    try:
        value = parse_json(words.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}") from error
    refuse_spoilt(value, where)
    return value


def refuse_long_text(suffix: str, size: int, where: str) -> None:
    """Raises DataError for a text of more bytes than a conversation can have, before it is read."""
    if suffix in ("json", "txt") and size > MOST_TEXT:
        raise DataError(f"{where} has {size:,} bytes of text.\n  allowed: {MOST_TEXT:,}")


def decoded(data: bytes, where: str) -> str:
    """Text of UTF-8, a byte-order mark in front or not.

    Raises:
        DataError: It is none: other letters would be learned in place of those that were meant.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no UTF-8: {error}\n  save it as UTF-8") from error


def refuse_spoilt(value: Any, where: str) -> None:
    """Refuses what JSON can hold and a sample can't.

    Raises:
        DataError: A key comes twice in an object, there is half of a surrogate pair (`\\ud83d` alone), as a
            cut-off emoji leaves it, or it is nested beyond all use.
    """
    try:
        _refuse_spoilt(value, where)
    except RecursionError as error:
        raise DataError(f"{where}: is nested too deeply.\n  take out what is no text") from error


def _refuse_spoilt(value: Any, where: str) -> None:
    if (key := doubled_key(value)) is not None:
        raise DataError(f"{where}: the key '{key}' comes twice.\n  leave the one that is meant")
    if without_half_letters(value) != value and _HALF.search(json.dumps(value, ensure_ascii=False)):
        raise DataError(
            f"{where}: holds half of a letter (one of a pair of surrogates, e.g. \\ud83d alone).\n"
            "  write the whole letter, or take it out"
        )


def without_half_letters(value: Any) -> Any:
    """A JSON value in which every lone surrogate is written out as `\\udXXX`, so that it can be encoded."""
    if isinstance(value, str):
        return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", value)
    if isinstance(value, Mapping):
        return {without_half_letters(key): without_half_letters(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_half_letters(item) for item in value]
    return value


def in_order_of_text(visuals: Sequence[dict[str, Any]], text: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Visuals in the order of the placeholders, where these tell videos from images.

    The n-th `<video>` is the n-th video and the n-th `<image>` the n-th image if there are as many of each;
    otherwise (`<image>` stands for both in the family's data) the order is kept.
    """
    turns = text.get("conversations")
    if not isinstance(turns, list):
        return list(visuals)
    texts = [turn.get("content", turn.get("value")) for turn in turns if isinstance(turn, Mapping)]
    marks = [mark for words in texts if isinstance(words, str) for mark in _MARKS.findall(words)]
    if sorted(marks) != sorted(visual["kind"] for visual in visuals):
        return list(visuals)
    waiting = {kind: iter([v for v in visuals if v["kind"] == kind]) for kind in ("image", "video")}
    return [next(waiting[mark]) for mark in marks]
