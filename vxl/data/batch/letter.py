"""Which letter an answer names. Never guessed: an answer without one is wrong, and counted."""

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

# What may stand between an announcement and its letter, and behind the letter.
_OPEN, _CLOSE = r"[(\[{\"'“‘「【<]*", r"[)\]}\"'”’」】>]*"
# Behind a letter that is one: no word goes on, and "A" and "I" are no words of a sentence ("A dog", "I see").
_ENDS = (
    r"(?![A-Za-z0-9]|['’\-–][A-Za-z])"
    r"(?!(?<=[AI])\s+(?!(?:is|was|because|since|as|instead|rather|but|not|and|or)\b)[a-z])"
)
_ALSO = rf"{_CLOSE}\s*(?:[,;/&+、]\s*|(?:or|and)\s+|[或和及与]\s*){_OPEN}"
# "The answer is", "Option", "答案：" and what may come between the word and its letter.
_WORDS = (
    r"(?:\b(?:answer|option|choice|letter|antwort|réponse|respuesta|resposta|risposta|ответ)\b"
    r"|答案|选项|選項|选择|選擇|正解|答え|정답|选|選)"
)
_LINKS = (
    r"(?:\s*\b(?:to the question|is|are|was|be|will|would|should|must|could|may|might|have|has|to|most|likely"
    r"|probably|clearly|definitely|therefore|thus|the|letter|option|choice|ist|est|es|é)\b"
    r"|\s*(?:应该|應該|应|應|是|为|為|は|은|는))*"
)
_SIGNS = r"[\"'”’]?\s*[:=\-–—]*\s*"
# "It is B", "so B", "choose B".
_CONCLUDES = (
    r"\b(?:it\s+is|it['’]s|that\s+is|that['’]s|therefore|thus|hence|so|but|correct|selected|choose|chose|choosing"
    r"|pick|select|go\s+with|going\s+with)\b\s*[:,]?\s*"
)
_WRONG = r"\s+(?:is|was|are)\s+(?:wrong|incorrect|false|not|unlikely|ruled)\b"


def parse_letter(text: str, options: Sequence[str], prefill: str = "") -> str | None:
    """The letter that an answer names, or None.

    The first of these that applies: the whole text of an option; a letter at the beginning (`B`, `(B)`,
    `B. red`); the last one that is announced (`the answer is B`), then concluded (`so it is B`, `B is
    correct`); the only one in brackets; a line that is only a letter; the only option whose text occurs; a
    small letter alone. `A or B` names none, nor does what is said not to be so.

    Args:
        text: What the model wrote.
        options: Texts of the options, without letters.
        prefill: Beginning of the assistant's turn that was given, such as `Best option: (`.
    """
    if not options:
        return None
    letters = ascii_uppercase[: len(options)]
    answer = _clean(text, prefill)
    plain_options = [_plain(option).strip().rstrip(".").lower() for option in options]
    if len(answer) > 1 and answer.rstrip(".").lower() in plain_options:
        return ascii_uppercase[plain_options.index(answer.rstrip(".").lower())]
    of_letters = _without_options(answer, plain_options)
    for rule in (_at_the_start, _announced, _concluded):
        letter = rule(of_letters, letters)
        if letter is not None:
            return letter or None
    bracketed = set(re.findall(rf"(?<!not )[(\[]([{letters}])[)\]]", of_letters))
    if len(bracketed) == 1:
        return bracketed.pop()
    alone = re.findall(rf"^[ \t]*{_OPEN}([{letters}])[)\].]*[ \t]*$", of_letters, re.MULTILINE)
    if alone:
        return alone[-1]
    letter_of_option = _named(answer, plain_options)
    if letter_of_option is not None:
        return letter_of_option
    small = re.fullmatch(rf"{_OPEN}([{letters.lower()}])[)\].]*", answer)
    return small.group(1).upper() if small else None


def _clean(text: str, prefill: str) -> str:
    """Without thoughts, emphasis and wrapping; behind what of the prefill belongs to the letter."""
    answer = re.sub(r"<think>.*", "", text.rpartition("</think>")[2], flags=re.DOTALL)  # one that is cut off
    answer = _plain(prefill.rpartition(":")[2].strip() + answer.strip())
    answer = re.sub(r"<\|[^|<>]*\|>|</?\w+>", " ", answer)  # <answer>B</answer>, B<|im_end|>
    answer = re.sub(r"^[ \t]*(?:[-•>]|\d+[.)])[ \t]+(?=\S)", "", answer, flags=re.MULTILINE)
    return answer.strip(" \t\r\n\"'“”‘’")


def _plain(text: str) -> str:
    """Without marks of emphasis and formulas; wide letters and signs, as East Asian text has, as others."""
    plain = unicodedata.normalize("NFKC", text)
    for _ in range(2):  # \boxed{\text{B}}
        plain = re.sub(r"\\(?:boxed|text|textbf|mathrm)\{([^{}]*)\}", r"\1", plain)
    return re.sub(
        r"\\[()\[\]]|[*`$#\u200b-\u200f\u2060\ufeff]|(?<![A-Za-z0-9])[_~]+|[_~]+(?![A-Za-z0-9])", "", plain
    )


def _without_options(answer: str, options: Sequence[str]) -> str:
    """The answer with gaps for texts of options that begin with a letter of their own ("C major")."""
    for option in sorted(options, key=len, reverse=True):
        if re.match(r"[a-z]\s+\w", option):
            answer = re.sub(rf"(?<!\w){re.escape(option)}(?!\w)", "\0", answer, flags=re.IGNORECASE)
    return answer


def _at_the_start(answer: str, letters: str) -> str | None:
    """A letter; "" where it is one of several; None where there is none."""
    behind = rf"(?=$|[)\]}}>」】\"'”.:,;!?。、—\s]){_ENDS}(?!{_CLOSE}{_WRONG})"
    match = re.match(rf"{_OPEN}([{letters}]){behind}", answer)
    if match is None:
        several = re.match(rf"{_OPEN}([{letters}]){_ALSO}([{letters}])(?![A-Za-z0-9'’])", answer)
        return "" if several and several[1] != several[2] else None
    return _alone(answer, match, letters)


def _announced(answer: str, letters: str) -> str | None:
    """The last announcement's letter; "" where it announces several."""
    small = letters.lower()
    pattern = (
        rf"(?<!not )(?<!not the )(?i:{_WORDS}{_LINKS}){_SIGNS}{_OPEN}"
        rf"(?:([{letters}]){_ENDS}(?!{_CLOSE}{_WRONG})|([{small}])(?=[)\].]*\s*(?:$|\n)))"
    )
    return _last(answer, pattern, letters)


def _concluded(answer: str, letters: str) -> str | None:
    """The same of `so it is B` and of `B is correct`."""
    words = rf"(?<!not )(?<!n['’]t )(?i:{_CONCLUDES})(?i:the\s+|option\s+|answer\s+)*"
    so = rf"{words}{_OPEN}([{letters}]){_ENDS}(?!{_CLOSE}{_WRONG})"
    right = rf"(?<![A-Za-z0-9'’])([{letters}]){_CLOSE}\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b"
    letter = _last(answer, so, letters)
    return _last(answer, right, letters) if letter is None else letter


def _last(answer: str, pattern: str, letters: str) -> str | None:
    """The letter of a pattern's last match; "" where it is one of several."""
    matches = list(re.finditer(pattern, answer, re.MULTILINE))
    return _alone(answer, matches[-1], letters) if matches else None


def _alone(answer: str, match: re.Match[str], letters: str) -> str:
    """A match's letter; "" where others follow it (`B, C`)."""
    letter = next(group for group in match.groups() if group).upper()
    several = re.match(rf"{_ALSO}([{letters}])(?![A-Za-z0-9'’])", answer[match.end() :])
    return "" if several and several[1] != letter else letter


def _named(answer: str, options: Sequence[str]) -> str | None:
    """The only option whose text occurs as whole words; longer texts are looked for first."""
    rest = answer.lower()
    letters_named: set[str] = set()
    first: dict[str, int] = {}
    for number, text in enumerate(options):
        if text:
            first.setdefault(text, number)
    for text in sorted(first, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(text)}(?!\w)"
        if any(not _is_denied(rest[: match.start()]) for match in re.finditer(pattern, rest)):
            letters_named.add(text)
        rest = re.sub(pattern, lambda match: "\0" * len(match.group()), rest)
    return ascii_uppercase[first[letters_named.pop()]] if len(letters_named) == 1 else None


def _is_denied(before: str) -> bool:
    """Whether what follows these words is said not to be so."""
    return re.search(r"(?:\bnot|n['’]t)(?:\s+(?:a|an|the))?\s+$", before) is not None
