"""Words that a policy lets the language model read on a fork: a proxy for questions that are yet to come."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.scored.attention import attention
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.sequence.layout import Layout

Words = str | list[int]
"""A text, or its tokens."""


class Speaking(Scored):
    """A policy that reads words of its own behind what is held, on a fork that is thrown away."""

    def __init__(self, config: ScoredConfig) -> None:
        super().__init__(config)
        self.llm: Decoder | None = None
        self.tokenizer: Any = None

    def equip(self, llm: Decoder) -> None:
        """Keeps the language model at hand."""
        super().equip(llm)
        self.llm = llm

    def prepare(self, tokenizer: Any) -> None:
        """Keeps the tokenizer at hand."""
        self.tokenizer = tokenizer

    @property
    def reader(self) -> Decoder:
        """The language model."""
        assert self.llm is not None, "the policy was not equipped with a language model"
        return self.llm

    def tokens_of(self, name: str, *fields: str) -> list[int]:
        """The tokens of the words of some fields, one behind the other.

        Args:
            name: Of the policy, for the message.
            *fields: Fields of its settings, each with a text or tokens.

        Raises:
            ConfigError: One is a text, and no tokenizer is known.
        """
        tokens: list[int] = []
        for field in fields:
            words: Words = getattr(self.settings, field)
            if isinstance(words, str) and words and self.tokenizer is None:
                raise ConfigError(
                    f"kv.{field} of kv={name} is a text, but no tokenizer is known to read it.\n"
                    f"  load the model with vxl.load, or give tokens: kv.{field}=[1,2,3]"
                )
            if isinstance(words, str):
                tokens += self.tokenizer.encode(words, add_special_tokens=False) if words else []
            else:
                tokens += words
        return tokens


def attention_of_words(cache: Cache, llm: Decoder, tokens: Sequence[int], columns: Columns) -> list[Tensor]:
    """Mean attention of words behind what is held on every entry, each layer's [B, 1, S].

    Mean over query heads and tokens; the softmax is over everything, the words included. The cache stays as
    it is: the words are read on a fork, which copies nothing of the past."""
    rows, count = cache.rows, len(tokens)
    fork = cache.fork()
    embeds_QD = llm.embed(torch.tensor(tokens, device=cache.next_B.device))
    layout = Layout.text(rows, count, cache.next_B.device)
    llm.extend(embeds_QD.expand(rows, -1, -1), fork, layout=layout, observe=count)
    scores = []
    for layer in range(len(cache.layers)):
        nothing = torch.empty(0)
        sums = attention(Entries(fork, layer, columns, nothing, nothing))
        scores.append(sums.mean(dim=(1, 2))[:, None, : cache.entries(layer)] / count)
    return scores
