"""Conversations of several turns, cut where watching ends: what can be run once, and what comes after it.

What is shown in one message and stands together comes first there, as the family was trained: a question
before a video and one behind it are the same conversation.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vxl.data.batch.encoded import Encoded, Shown
from vxl.data.batch.prompt import Prompt
from vxl.data.sample import Sample
from vxl.sequence.layout import Kind
from vxl.sequence.rows import IGNORE

_WRITING = threading.Lock()
"""Whoever writes a conversation holds it: a tokenizer serves one thread at a time."""


@dataclass(frozen=True)
class Said:
    """A turn: texts, and a visual between each two of them."""

    role: Literal["user", "assistant"]
    texts: tuple[str, ...]

    @property
    def visuals(self) -> int:
        """How many it shows."""
        return len(self.texts) - 1


class Chat(Prompt):
    """Writes conversations for a model that watches first."""

    def conversation(
        self, turns: Sequence[Said], visuals: Sequence[Shown], *, goes_on: bool = False
    ) -> tuple[Encoded, list[int]]:
        """A conversation up to the assistant's next words.

        Args:
            turns: They, the user's first; those of the assistant show nothing.
            visuals: The visuals of all turns, in order.
            goes_on: Whether the last turn, the assistant's, is the beginning of its next words.

        Returns:
            Everything up to the last visual (the user's first header where there is none), and the tokens
            after it.

        Raises:
            DataError: Turns and `shown` differ in how many visuals there are.
        """
        encoded, sample = self._opened(), Sample(key="the conversation")
        for number, turn in enumerate(turns):
            if turn.role == "user":
                texts = [self._as_asked(text) for text in turn.texts]
                self._user(encoded, texts, visuals, sample, training=False)
            elif goes_on and number == len(turns) - 1:
                encoded.text([self.start, *self._ids("assistant\n"), *self._ids(turn.texts[0])])
            else:
                self._assistant(encoded, turn.texts[0], is_letter=False)
        if not goes_on:
            encoded.text([self.start, *self._ids("assistant\n")])
        self._check(encoded, visuals, sample.key)
        encoded.labels = [IGNORE] * len(encoded)
        visual = [place for place, kind in enumerate(encoded.kind) if kind != Kind.TEXT]
        cut = visual[-1] + 1 if visual else len(self.head([]))
        return encoded.until(cut), encoded.tokens[cut:]

    def _make_cache(self) -> None:
        self._cached = self._one_at_a_time  # what clients write is not kept

    def _one_at_a_time(self, text: str) -> tuple[int, ...]:
        with _WRITING:
            return self._tokenise(text)


def said(role: Literal["user", "assistant"], parts: Sequence[str | None]) -> Said:
    """A turn of texts and visuals.

    Args:
        role: Who speaks.
        parts: Texts, and None for each visual, in the order in which they were sent.
    """
    places = [place for place, part in enumerate(parts) if part is None]
    together = places and places[-1] - places[0] == len(places) - 1
    if together:
        words = "\n".join(part for part in parts if part is not None)
        return Said(role, ("", *["\n"] * (len(places) - 1), f"\n{words}" if words else ""))
    texts: list[list[str]] = [[]]
    for part in parts:
        if part is None:
            texts.append([])
        else:
            texts[-1].append(part)
    paragraphs = ["\n".join(own) for own in texts]
    return Said(
        role,
        tuple(
            ("\n" if number and text else "") + text + ("\n" if number < len(paragraphs) - 1 and text else "")
            for number, text in enumerate(paragraphs)
        ),
    )
