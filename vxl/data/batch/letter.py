"""Which letter an answer names. Never guessed: an answer without one is wrong, and counted."""

import re
from collections.abc import Sequence
from string import ascii_uppercase

_SEVERAL = r"[)\]]?\s*(?:,\s*|/\s*|\s(?:or|and)\s+)[(\[]?([{letters}])(?![A-Za-z'])"


def parse_letter(text: str, options: Sequence[str], prefill: str = "") -> str | None:
    """The letter that an answer names, or None.

    The first of these that applies: a letter at the beginning (`B`, `(B)`, `B. red`); the last one that is
    announced (`the answer is B`); the only one in brackets; a line that is only a letter; the only option
    whose text occurs; a small letter alone. `A or B` names none.

    Args:
        text: What the model wrote.
        options: Texts of the options, without letters.
        prefill: Beginning of the assistant's turn that was given, such as `Best option: (`.
    """
    if not options:
        return None
    letters = ascii_uppercase[: len(options)]
    said = _clean(text, prefill)
    for rule in (_at_the_start, _announced):
        found = rule(said, letters)
        if found is not None:
            return found or None
    bracketed = set(re.findall(rf"\(([{letters}])\)", said))
    if len(bracketed) == 1:
        return bracketed.pop()
    alone = re.findall(rf"^[ \t]*[(\[]?([{letters}])[)\].]?[ \t]*$", said, re.MULTILINE)
    if alone:
        return alone[-1]
    named = _named(said, options)
    if named is not None:
        return named
    small = re.fullmatch(rf"[(\[]?([{letters.lower()}])[)\].]?", said)
    return small.group(1).upper() if small else None


def _clean(text: str, prefill: str) -> str:
    """Without thoughts, emphasis and wrapping; behind what of the prefill belongs to the letter."""
    said = text.rpartition("</think>")[2]
    said = prefill.rpartition(":")[2].strip() + said.strip()
    said = re.sub(r"\\(?:boxed|text|textbf|mathrm)\{([^{}]*)\}", r"\1", said)
    said = re.sub(r"\\(?:boxed|text|textbf|mathrm)\{([^{}]*)\}", r"\1", said)  # \boxed{\text{B}}
    said = re.sub(r"</?\w+>", " ", said.replace("**", "").replace("`", ""))  # <answer>B</answer>
    return said.strip(" \t\r\n\"'“”‘’*#$")


def _at_the_start(said: str, letters: str) -> str | None:
    """A letter; "" where it is one of several; None where there is none."""
    several = re.match(rf"[(\[]*([{letters}])" + _SEVERAL.format(letters=letters), said)
    if several and several.group(1) != several.group(2):
        return ""
    if re.match(r"[(\[]*[AI]\s+[a-z]", said):  # "A dog", "I see": words, not letters
        return None
    found = re.match(rf"[(\[]*([{letters}])(?=$|[)\].:,;\s])", said)
    return found.group(1) if found else None


def _announced(said: str, letters: str) -> str | None:
    """The last announcement's letter; "" where it announces several."""
    pattern = (
        rf"(?<!not )(?<!not the )\b(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*[(\[]?"
        rf"(?P<letter>[{letters}])(?![A-Za-z'])(?!(?<=[AI])\s+[a-z])"
    )
    found = list(re.finditer(pattern, said))
    if not found:
        return None
    several = re.match(_SEVERAL.format(letters=letters), said[found[-1].end() :])
    if several and several.group(1) != found[-1]["letter"]:
        return ""
    return found[-1]["letter"]


def _named(said: str, options: Sequence[str]) -> str | None:
    """The only option whose text occurs as whole words; longer texts are looked for first."""
    rest = said.lower()
    found: set[str] = set()
    first: dict[str, int] = {}
    for number, option in enumerate(options):
        text = option.strip().rstrip(".").lower()
        if text:
            first.setdefault(text, number)
    for text in sorted(first, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(text)}(?!\w)"
        if re.search(pattern, rest):
            found.add(text)
            rest = re.sub(pattern, lambda match: "\0" * len(match.group()), rest)
    return ascii_uppercase[first[found.pop()]] if len(found) == 1 else None
