"""One task of a benchmark: what is asked about which video, and what counts as right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

Asks = Literal["choice", "interval", "open", "caption"]


class PromptParts(NamedTuple):
    """A prompt in its three parts, as a preset words it."""

    user: str
    """What stands behind the video in the user's turn."""
    system: str | None = None
    """The system turn; None for the model's own."""
    prefill: str = ""
    """How the assistant's turn begins; it is part of the answer."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkItem:
    """One question of a benchmark, with the answer that its authors hold to be right."""

    key: str
    """Its identity, the same whatever the order of the file."""
    index: int = 0
    """Its place in the authors' order."""
    video: str
    """The file as the annotations name it; looked up below `benchmark.videos`."""
    cluster: str
    """What answers depend on together: items of one cluster are no independent evidence."""
    kind: str
    """The first label: accuracy is always reported by it."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """All labels by name, several a name where the authors give several."""
    question: str
    options: tuple[str, ...] = ()
    """Texts without letters; none where the answer is free."""
    printed: tuple[str, ...] = ()
    """Options as the authors' file prints them, where that differs."""
    gold: str = ""
    """The right letter, or the reference text."""
    accepted: tuple[str, ...] = ()
    """Every letter whose text equals the gold's; `gold` alone where there are no doubles."""
    asks: Asks = "choice"
    reference: Any = None
    """What an answer of another kind is scored against: an interval, scoring points, questions."""
    seconds: float = 0.0
    """Length of the video as the annotations say; 0 where they do not."""
    judged: bool = False
    """Whether only a judge can score its answers."""
    start: float | None = None
    """Where the part that is shown begins; None for the whole video."""
    end: float | None = None
    subtitles: str | None = None
    """File of subtitles, looked up below `benchmark.subtitles`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else the adapter needs to write prompts and files of answers."""

    @property
    def shown(self) -> float:
        """Seconds that are shown, as far as they are known."""
        return max(0.0, (self.end or self.seconds) - (self.start or 0.0))

    @property
    def letters(self) -> str:
        """The letters of its options."""
        return ascii_uppercase[: len(self.options)]


def choice(options: tuple[str, ...], gold: int) -> tuple[str, tuple[str, ...]]:
    """(gold letter, accepted letters): authors' files hold options that are the same text twice.

    Args:
        options: Texts without letters.
        gold: Number of the right one.
    """
    text = options[gold].strip()
    same = [ascii_uppercase[n] for n, option in enumerate(options) if option.strip() == text]
    return ascii_uppercase[gold], tuple(same)
