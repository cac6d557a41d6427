"""Fields of a sample's JSON, whose types are checked where they are read."""

import itertools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from vxl.errors import DataError

log = logging.getLogger(__name__)

_SAID: set[str] = set()
"""Roles of which this process said that their turns are passed over."""


def listed(text: Mapping[str, Any], name: str, where: str) -> Sequence[Any]:
    """The list under a key; empty where there is none.

    Raises:
        DataError: It is something else.
    """
    items = text.get(name)
    if items is None or items == "":
        return ()
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise DataError(f"{where}: '{name}' is a {type(items).__name__}.\n  write a list of objects")
    return items


def scale_of(value: Any, where: str) -> float | None:
    """What a video's seconds are multiplied by; None where nothing is said.

    Raises:
        DataError: It is no number above 0.
    """
    scale = None if value is None else number_of(value, "scale", where)
    if scale is not None and not 0.0 < scale < math.inf:
        raise DataError(f"{where}: 'scale' is {value!r}.\n  write what seconds are multiplied by, above 0")
    return scale


def number_of(value: Any, name: str, where: str) -> float:
    """A number, finite or not.

    Raises:
        DataError: It is something else, or not a number (NaN).
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: '{name}' is {value!r}.\n  write a number")
    try:
        number = float(value)
    except OverflowError:  # a whole number of more digits than a float has
        number = math.inf if value > 0 else -math.inf
    if math.isnan(number):
        raise DataError(f"{where}: '{name}' is {value!r}.\n  write a number, or leave it out")
    return number


def timed_texts(items: Sequence[Any], where: str) -> list[tuple[float, float, str]]:
    """(start, end, text) of segments.

    Raises:
        DataError: One is not complete, or of other types.
    """
    form = 'write  {"start": 0.0, "end": 4.5, "text": "..."}  (seconds)'
    parts = []
    for number, item in enumerate(items):
        is_whole = isinstance(item, Mapping) and {"start", "end"} <= set(item)
        if not is_whole or not isinstance(item.get("text"), str):
            raise DataError(f"{where}: segment {number} is not complete.\n  got: {str(item)[:120]}\n  {form}")
        start, end = (number_of(item[name], f"segment {number}: {name}", where) for name in ("start", "end"))
        if end < start:
            raise DataError(f"{where}: segment {number} ends at {end:g} s, before {start:g} s.\n  {form}")
        parts.append((start, end, item["text"]))
    return parts


def opening_turns(roles: Sequence[Any], assistant: Sequence[str], where: str) -> int:
    """How many turns stand before the user's first: a system prompt, or an answer to nothing.

    Public lists have both, and LLaVA's code, which the family trains with, passes over what comes first.
    """
    before = list(itertools.takewhile(lambda role: role == "system" or role in assistant, roles))
    if before and len(before) < len(roles):
        _say_passed_over(str(before[0]), where)
        return len(before)
    return 0


def _say_passed_over(role: str, where: str) -> None:
    """Once a process: a list that has it mostly has it in every item."""
    if _SAID:
        return
    _SAID.add(role)
    log.warning(
        "%s: turns before the user's first are passed over (the first is the %s's), here and elsewhere; a "
        "system prompt is set once for all:  prompt.system=...",
        where,
        role,
    )


def bare_options(options: Sequence[str]) -> tuple[str, ...]:
    """Options without letters of their own, since letters are put on: of `A. red`, `B. green` red and green.

    All of them must have theirs, in order, or none loses any.
    """
    without_letters = [
        re.fullmatch(rf"\s*\(?{letter}[.):]\s*(.*\S)\s*", option, re.DOTALL)
        for letter, option in zip(ascii_uppercase, options, strict=False)
    ]
    bare = tuple(match[1] for match in without_letters if match)
    return bare if bare and len(bare) == len(options) else tuple(options)
