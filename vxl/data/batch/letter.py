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
    answer = _clean(text, prefill)
    for rule in (_at_the_start, _announced):
        letter = rule(answer, letters)
        if letter is not None:
            return letter or None
    bracketed = set(re.findall(rf"\(([{letters}])\)", answer))
    if len(bracketed) == 1:
        return bracketed.pop()
    alone = re.findall(rf"^[ \t]*[(\[]?([{letters}])[)\].]?[ \t]*$", answer, re.MULTILINE)
    if alone:
        return alone[-1]
    letter_of_option = _named(answer, options)
    if letter_of_option is not None:
        return letter_of_option
    small = re.fullmatch(rf"[(\[]?([{letters.lower()}])[)\].]?", answer)
    return small.group(1).upper() if small else None


def _clean(text: str, prefill: str) -> str:
    """Without thoughts, emphasis and wrapping; behind what of the prefill belongs to the letter."""
    answer = text.rpartition("</think>")[2]
    answer = prefill.rpartition(":")[2].strip() + answer.strip()
    answer = re.sub(r"\\(?:boxed|text|textbf|mathrm)\{([^{}]*)\}", r"\1", answer)
    answer = re.sub(r"\\(?:boxed|text|textbf|mathrm)\{([^{}]*)\}", r"\1", answer)  # \boxed{\text{B}}
    answer = re.sub(r"</?\w+>", " ", answer.replace("**", "").replace("`", ""))  # <answer>B</answer>
    return answer.strip(" \t\r\n\"'“”‘’*#$")


def _at_the_start(answer: str, letters: str) -> str | None:
    """A letter; "" where it is one of several; None where there is none."""
    several = re.match(rf"[(\[]*([{letters}])" + _SEVERAL.format(letters=letters), answer)
    if several and several.group(1) != several.group(2):
        return ""
    if re.match(r"[(\[]*[AI]\s+[a-z]", answer):  # "A dog", "I see": words, not letters
        return None
    match = re.match(rf"[(\[]*([{letters}])(?=$|[)\].:,;\s])", answer)
    return match.group(1) if match else None


def _announced(answer: str, letters: str) -> str | None:
    """The last announcement's letter; "" where it announces several."""
    pattern = (
        rf"(?<!not )(?<!not the )\b(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*[(\[]?"
        rf"(?P<letter>[{letters}])(?![A-Za-z'])(?!(?<=[AI])\s+[a-z])"
    )
    matches = list(re.finditer(pattern, answer))
    if not matches:
        return None
    several = re.match(_SEVERAL.format(letters=letters), answer[matches[-1].end() :])
    if several and several.group(1) != matches[-1]["letter"]:
        return ""
    return matches[-1]["letter"]


def _named(answer: str, options: Sequence[str]) -> str | None:
    """The only option whose text occurs as whole words; longer texts are looked for first."""
    rest = answer.lower()
    letters_named: set[str] = set()
    first: dict[str, int] = {}
    for number, option in enumerate(options):
        text = option.strip().rstrip(".").lower()
        if text:
            first.setdefault(text, number)
    for text in sorted(first, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(text)}(?!\w)"
        if re.search(pattern, rest):
            letters_named.add(text)
            rest = re.sub(pattern, lambda match: "\0" * len(match.group()), rest)
    return ascii_uppercase[first[letters_named.pop()]] if len(letters_named) == 1 else None
