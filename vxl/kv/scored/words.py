"""Words that a policy lets the language model read on a fork: a proxy for questions that are yet to come."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.scored.attention import attention_of, observed_columns
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries, stacks
from vxl.kv.scored.picked import picked
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

    def kept_by(
        self,
        scores: Sequence[Tensor],
        cache: Cache,
        columns: Columns,
        rooms: list[Tensor],
        first_asked: int | None,
    ) -> list[Tensor]:
        """Which entries of each layer stay, by scores of every layer, [B, 1, S] each; see `Scored.kept`."""
        keep: list[Tensor] = []
        for first, *others in stacks(cache):
            room_B = torch.cat([rooms[n] for n in (first, *others)])
            entries = self.entries(cache, first, columns, room_B, first_asked, tuple(others))
            score_BNS = torch.cat([scores[n] for n in (first, *others)])
            keep += (entries.protected_BNS | picked(entries, score_BNS)).split(cache.rows)
        return keep

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


def read_words(cache: Cache, llm: Decoder, tokens: Sequence[int]) -> Cache:
    """A fork that has read words behind what is held, with the queries of all of them; it copies nothing of
    the past, and the cache stays as it is."""
    fork, device = cache.fork(), cache.next_B.device
    embeds_QD = llm.embed(torch.tensor(tokens, device=device))
    layout = Layout.text(cache.rows, len(tokens), device)
    llm.extend(embeds_QD.expand(cache.rows, -1, -1), fork, layout=layout, observe=len(tokens))
    return fork


def attention_of_words(
    cache: Cache, fork: Cache, columns: Columns, layers: Sequence[int], first: int | None = None
) -> list[Tensor]:
    """Mean attention of words behind what is held on every entry, [B, 1, S] of each of some layers.

    Mean over query heads and tokens; the softmax of a token is over everything up to itself, the words
    included.

    Args:
        cache: What is held.
        fork: It, behind which the words have been read (`read_words`).
        columns: What the cache was fed.
        layers: Whose entries.
        first: How many of the first words count; None = all.
    """
    column_BQ, real_BQ = observed_columns(fork)
    count = column_BQ.shape[1] if first is None else first
    nothing = torch.empty(0)
    scores: list[Tensor] = []
    for one, *others in stacks(fork, layers):
        entries = Entries(fork, one, columns, nothing, nothing, tuple(others))
        query_BMQH = entries.queries_BMQH[:, :, :count]
        sums = attention_of(query_BMQH, column_BQ[:, :count], real_BQ[:, :count], entries)
        mean_BS = sums[..., : cache.entries(one)].mean(dim=(1, 2)) / count
        scores += mean_BS[:, None].split(cache.rows)
    return scores
