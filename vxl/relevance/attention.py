"""The attention that the language model itself pays to each chunk when it reads the question."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks, chunks_of, two_levels
from vxl.relevance.base import QuestionPiece, Relevance, RelevanceConfig


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(RelevanceConfig):
    """The attention that the language model pays to each chunk when it reads the question; no other model."""

    _target_: str = "vxl.relevance.attention.Attention"
    layers: list[int] | None = None
    """Layers whose attention counts, from 0; null: the middle third, where a question finds its answer."""
    pool: int = 4
    """The question reads a pooled video, so many visual tokens an entry: more are cheaper and coarser."""

    def __post_init__(self) -> None:
        if self.pool < 1 or self.layers == []:
            raise ConfigError(
                f"layers={self.layers} pool={self.pool} looks at nothing.\n"
                "  allowed: one layer or more, 1 or more tokens an entry"
            )


class Attention(Relevance):
    """Reads the question on a cache of pooled chunks, and adds up its attention on each chunk."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__(config)
        self.layers = config.layers
        self.pool = config.pool

    def score(self, question: QuestionPiece, chunks: Chunks, cache: Cache) -> Tensor:
        """See `Relevance.score`: the mean over layers, heads and the question's tokens of the attention on a
        chunk's visual tokens."""
        layers = self.chosen(question.llm.layers)
        pooled = cache.fork()
        nothing_BC = torch.zeros(cache.rows, chunks.count, dtype=torch.bool, device=chunks.chunk_BS.device)
        two_levels(pooled, chunks, nothing_BC, self.pool, compact=True)
        past, entries = list(pooled.layers), chunks_of(pooled, chunks.groups)
        question.llm.extend(
            question.embeds_BTD,
            pooled,
            valid_BT=question.valid_BT,
            layout=question.layout,
            observe=question.embeds_BTD.shape[1],
        )
        observed = pooled.observed
        assert observed is not None
        mass_BS = torch.zeros(entries.chunk_BS.shape, device=chunks.chunk_BS.device)
        for layer in layers:
            (block,) = past[layer]
            keys_BNSH = block.rotated(cache.rotary)
            mass_BS += mean_attention(observed.queries[layer], keys_BNSH, entries.valid_BS, observed.real_BQ)
        mass_BS = (mass_BS / len(layers)).masked_fill(~entries.visual_BS, 0.0)
        scores_BC = mass_BS.new_zeros(cache.rows, chunks.count + 1)
        column_BS = entries.chunk_BS % (chunks.count + 1)
        return scores_BC.scatter_add(1, column_BS, mass_BS)[:, : chunks.count]

    def chosen(self, layers: int) -> list[int]:
        """The layers that count, of a model that has `layers`.

        Raises:
            ConfigError: It has no such layer.
        """
        if self.layers is None:
            return list(range(layers // 3, max(layers // 3 + 1, 2 * layers // 3)))
        wrong = [layer for layer in self.layers if not 0 <= layer < layers]
        if wrong:
            raise ConfigError(
                f"relevance.layers={self.layers}: the language model has no layer {wrong[0]}.\n"
                f"  allowed: 0 to {layers - 1}\n  e.g.  relevance.layers=[{layers // 2}]"
            )
        return self.layers


def mean_attention(query_BNQH: Tensor, key_BNSH: Tensor, valid_BS: Tensor, real_BQ: Tensor) -> Tensor:
    """Attention weights [B, S] of queries on keys, mean over heads and queries.

    Head by head, so that no tensor has heads x queries x keys.

    Args:
        query_BNQH: Rotated queries of all query heads.
        key_BNSH: Rotated keys; one row may stand for all.
        valid_BS: Keys that exist.
        real_BQ: Queries that exist.
    """
    rows, heads, queries, width = query_BNQH.shape
    kv_heads = key_BNSH.shape[1]
    query_groups = query_BNQH.reshape(rows, kv_heads, heads // kv_heads * queries, width)
    real = real_BQ.repeat(1, heads // kv_heads)[..., None]
    total_BS = torch.zeros(rows, key_BNSH.shape[2], device=query_BNQH.device)
    for head in range(kv_heads):
        scores = (query_groups[:, head] @ key_BNSH[:, head].mT).float() * width**-0.5
        weights = scores.masked_fill(~valid_BS[:, None], float("-inf")).softmax(dim=-1)
        total_BS += (weights * real).sum(dim=1)
    return total_BS / (heads * real_BQ.sum(dim=1, keepdim=True))
