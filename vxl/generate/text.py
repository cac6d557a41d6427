"""An answer's text while it grows: shown as soon as it is certain, ended by strings."""

from collections.abc import Callable, Collection
from typing import Any


class StreamedText:
    """Decodes tokens as they come.

    Shown text is final: half a character (a token may end inside one) and what may turn out to be the
    beginning of a stop string are held back until that is decided.

    Args:
        tokenizer: Decodes.
        stop: Strings that end the answer; they may begin and end inside tokens.
        show: Takes each new piece of the text.
        bare: Whether spaces before it are left out, and those behind it in the end.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: Collection[str] = (),
        show: Callable[[str], object] | None = None,
        bare: bool = True,
    ) -> None:
        self.tokenizer, self.bare = tokenizer, bare
        self.stop = tuple(filter(None, stop))
        self.show = show
        self.tokens: list[int] = []
        self.text = ""
        """All text so far, cut before a stop string."""
        self.ended = False
        """Whether a stop string came."""
        self._shown = 0

    def add(self, token: int) -> bool:
        """Takes the next token; whether a stop string has come."""
        self.tokens.append(token)
        text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        self.text = text.lstrip() if self.bare else text
        places = [place for stop in self.stop if (place := self.text.find(stop)) >= 0]
        if places:
            self.text, self.ended = self.text[: min(places)], True
        self._say(len(self.text) if self.ended else self._certain())
        return self.ended

    def finish(self) -> str:
        """Shows what was held back: nothing comes any more. Returns the text."""
        self._say(len(self.text))
        return self.text.strip() if self.bare else self.text

    def _certain(self) -> int:
        """Length of the part that nothing that may come changes."""
        whole = len(self.text.rstrip("\ufffd"))
        overlaps = [
            size
            for stop in self.stop
            for size in range(1, len(stop))
            if self.text[:whole].endswith(stop[:size])
        ]
        return whole - max(overlaps, default=0)

    def _say(self, length: int) -> None:
        if self.show is not None and length > self._shown:
            self.show(self.text[self._shown : length])
        self._shown = max(self._shown, length)
