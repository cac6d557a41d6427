"""Numbers and texts for people: sizes, shares, ages, and words that a terminal may show."""

import math
import unicodedata

MIB = 2**20
GIB = 2**30


def human_size(size: float) -> str:
    """Bytes of memory or of a file in the units of `kv.mib` and of cards: MiB, and from 1 GiB on GiB.

    Example:
        >>> human_size(250_000), human_size(516e6), human_size(3.2 * GIB)
        ('0.238 MiB', '492 MiB', '3.20 GiB')
    """
    if size < 1000:
        return f"{size:.0f} B"
    return f"{significant(size / GIB)} GiB" if size >= GIB else f"{significant(size / MIB)} MiB"


def significant(value: float) -> str:
    """Three digits that count, zeros too, and never an exponent: `0.230`, `12.0`, `1234`."""
    digits = 0 if value == 0 else math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, 2 - digits)}f}"


def rounded(number: float) -> str:
    """A number of any size to be read, not compared: `0.00084`, `2.5`, `3,200`."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def percent(share: float) -> str:
    """A share as `53.1 %`."""
    return f"{100 * share:.1f} %"


def human_age(seconds: float) -> str:
    """Seconds as `40 s`, `12 min`, `5 h`, `3 d`."""
    for unit, length, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def printable(text: str) -> str:
    r"""A text without what a terminal would obey: escape sequences, control and bidirectional characters.

    Answers of a model, names in files and messages of others are shown so.

    Example:
        >>> printable("a" + chr(27) + "[2J b")
        'a\\x1b[2J b'
    """
    if text.isprintable():
        return text
    obeyed = ("Cc", "Cf", "Cs")
    characters = []
    for letter in text:
        is_plain = letter in "\n\t\u200d" or unicodedata.category(letter) not in obeyed
        characters.append(letter if is_plain else letter.encode("unicode_escape").decode())
    return "".join(characters)
