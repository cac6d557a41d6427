"""Visuals alone, for learning to reconstruct them: no text, and every visual token is supervised."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vxl.data.batch.encoded import Encoded, Shown
from vxl.data.batch.prompt import Prompt, PromptConfig
from vxl.data.sample import Sample
from vxl.errors import DataError
from vxl.sequence.layout import Kind
from vxl.sequence.rows import IGNORE


class VisualsAlone(Prompt):
    """Writes down a sample's visuals, group after group, and nothing of its conversation.

    So lengths, buckets and `data.max_tokens` count visual tokens, and the loss is divided by their number. A
    sample without visuals keeps its place and has nothing to learn.
    """

    def __init__(self, config: PromptConfig, *more: Any, **named: Any) -> None:
        super().__init__(replace(config, time_text=None), *more, **named)

    def training(self, sample: Sample, visuals: Sequence[Shown]) -> Encoded:
        """A sample's visuals behind one token of text, which has no label.

        Raises:
            DataError: They are longer than `max_tokens`.
        """
        encoded = Encoded()
        encoded.text([self.start])
        for visual in visuals:
            self._show(encoded, visual, scale=None)
        places = zip(encoded.tokens, encoded.kind, strict=True)
        encoded.labels = [token if kind == Kind.VISUAL else IGNORE for token, kind in places]
        if self.max_tokens is not None and len(encoded) > self.max_tokens:
            raise DataError(self._too_long(encoded, sample))
        return encoded
