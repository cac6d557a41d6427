"""How a multiple-choice question is asked, and how the answer is read; training and evaluation share it."""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from vxl.data.sample import Question

INSTRUCTION = "Answer with the option's letter from the given choices directly."


def format_question(question: Question) -> str:
    """A multiple-choice question as training, validation and evaluation all ask it."""
    options = (f"{letter}. {text}" for letter, text in zip(ascii_uppercase, question.options, strict=False))
    return "\n".join([question.question, *options, INSTRUCTION])


def parse_letter(text: str, options: Sequence[str]) -> str | None:
    """The letter that an answer names, or None.

    Taken in this order: a letter that stands alone at the beginning (`B`, `(B)`, `B. red`), one that is
    announced (`The answer is B`), the only option whose text occurs in the answer. Anything else is no
    answer: a guess would be right one time in four.
    """
    letters = ascii_uppercase[: len(options)]
    words = text.strip()
    # "A dog" and "I see" begin with a word, not with a letter.
    found = None if re.match(r"[AI] +[a-z]", words) else re.match(rf"\(?([{letters}])(?![A-Za-z'])", words)
    if found is None:
        found = re.search(rf"(?i:answer|option)(?i:\s+is)?\s*:?\s*\(?([{letters}])(?![A-Za-z'])", words)
    if found is not None:
        return found.group(1)
    said = [
        letter
        for letter, option in zip(letters, options, strict=True)
        if re.search(rf"(?<!\w){re.escape(option.lower().rstrip('.'))}(?!\w)", words.lower())
    ]
    return said[0] if len(said) == 1 else None
