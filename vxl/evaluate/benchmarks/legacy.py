"""How answers were read for published scores, mistakes included: `benchmark.scoring=legacy`.

Each function gives the letter that the published code would have compared, or None. Where that code drew a
letter at random, None stands here: nothing can reproduce the draw.
"""

import re

_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
# Two commas are missing in the list that Video-MME's readers share: four prefixes became two.
_FUSED = (*_PREFIXES[:4], "The best option isThe correct option is", "Best answer:Best option:")


def video_mme(text: str) -> str | None:
    """Prefixes off, then the first of A to D wherever it stands (`Answer: B` is A)."""
    return _first(text, _FUSED, "ABCD")


def longvideobench(text: str) -> str | None:
    """Prefixes off, then the first of A to E; the published code draws one at random where there is none."""
    return _first(text, _PREFIXES, "ABCDE")


def mlvu(text: str) -> str | None:
    """The character before the first `)`, else the whole text: `B. blue` is no letter."""
    letter = text[text.index(")") - 1 : text.index(")")] if ")" in text else text
    return letter if len(letter) == 1 and letter.isupper() else None


def mvbench_official(text: str, gold: str) -> str | None:
    """The gold letter where the published comparison holds: an empty answer is right whatever the gold.

    Args:
        text: The answer, behind the prefill's bracket.
        gold: The right letter.
    """
    first = ("(" + text).lower().split(" ")[0]
    gold_words = f"({gold.lower()})"
    return gold if first.replace(".", "") in gold_words or gold_words in first else None


def mvbench_lmms(text: str) -> str | None:
    """A letter A to E anywhere in the text without punctuation, of either case."""
    opening = re.match(r"^([A-E])\.\s*(.+)$", text.strip(), re.IGNORECASE)
    if opening:
        return opening.group(1).upper()
    words = re.sub(r"[;/\[\]\"{}()=+\\_\->\<@`,?!]", " ", text.replace("\n", " "))
    match = re.search(r"\b([A-E])\b", words, re.IGNORECASE)
    return match.group(1).upper() if match else None


def lvbench(text: str) -> str | None:
    """Text before `)`, after `(`, its first character."""
    letter = text.split(")")[0].rpartition("(")[2].strip() if ")" in text else text.strip()
    return letter[0] if letter[:1] in tuple("ABCDE") else None


def lvbench_family(text: str) -> str | None:
    """`X.` at the start, else the first letter a to e that stands alone, articles included."""
    opening = re.match(r"([A-E])\.", text.strip())
    if opening:
        return opening.group(1)
    match = re.search(r"\b([a-eA-E])\b", text)
    return match.group(1).upper() if match else None


def vnbench(text: str) -> str | None:
    """The first of A, B, C, D that occurs in what stands before the first full stop (`Answer` holds an A)."""
    sentence = text.split(".")[0]
    return next((letter for letter in "ABCD" if letter in sentence), None)


def charades(text: str) -> tuple[float, float] | None:
    """Seconds as lmms-eval reads them: every "to" becomes "-", then mm:ss, then a pair of numbers."""
    reply = text.lower().replace("to", "-")
    clock = re.findall(r"(\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?)", reply)
    if len(clock) >= 2:
        return seconds_of(clock[0]), seconds_of(clock[1])
    pair = re.search(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)", reply)
    return (float(pair.group(1)), float(pair.group(2))) if pair else None


def seconds_of(clock: str) -> float:
    """Seconds of `mm:ss(.f)` or `hh:mm:ss`."""
    seconds = 0.0
    for part in clock.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def _first(text: str, prefixes: tuple[str, ...], letters: str) -> str | None:
    reply = text.strip()
    for prefix in prefixes:
        reply = reply.replace(prefix, "")
    match = re.search(rf"[{letters}]", reply)
    return match.group() if match else None
