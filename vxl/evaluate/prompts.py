"""Wordings that several benchmarks share."""

from collections.abc import Iterable
from string import ascii_uppercase

from vxl.data.batch.answer import INSTRUCTION
from vxl.evaluate.item import BenchmarkItem, PromptParts


def vxl(item: BenchmarkItem) -> PromptParts:
    """As vxl asks in training: `A. …` a line, the instruction last; free questions as they are."""
    if not item.options:
        return PromptParts(item.question)
    return PromptParts("\n".join([item.question, *dotted(item.options), INSTRUCTION]))


def letter_dots(item: BenchmarkItem, end: str = "") -> PromptParts:
    """`A. …` a line and the instruction of lmms-eval, and what may follow it."""
    return PromptParts("\n".join([item.question, *dotted(item.options), INSTRUCTION]) + end)


def dotted(options: Iterable[str]) -> list[str]:
    """`A. red`."""
    return [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]


def bracketed(options: Iterable[str]) -> list[str]:
    """`(A) red`."""
    return [f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
