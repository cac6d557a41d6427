"""Entries stay that the model needs to repeat what it watched."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.attention import TILE
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.output import moved_output
from vxl.kv.scored.ranking import best, newest, shared
from vxl.kv.scored.words import Speaking, Words
from vxl.llm.attention.around import lengths_of_inputs
from vxl.llm.block import take
from vxl.llm.cache import Cache
from vxl.option.option import option
from vxl.precision import at_least_single
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece

WATCHED = "kv.kvzip"
"""Where a cache notes the embeddings of what it was fed, until watching ends."""
CUE = 8
"""Tokens before a stretch that the request to repeat it names."""


@dataclass(frozen=True, kw_only=True)
class KVzipConfig(ScoredConfig):
    """When watching ends, the model repeats what it watched; the entries that it reads for that stay."""

    _target_: str = "vxl.kv.kvzip.KVzip"
    at: Literal["finish"] = "finish"
    """Once, when watching ends."""
    stretch: int = 2048
    """Tokens that are repeated in one pass."""
    layerwise: bool = False
    """Whether each layer has the same budget. Otherwise all heads of all layers share one."""
    plus: bool = option(False, later=True)
    """Whether attention counts by what it moves: divided by the length of what the repeated token's layer is
    given, times the length of the value after the output projection (KVzip+)."""
    first: Words = "\n\nRepeat the previous context exactly."
    """The request for the first stretch: a text, or its tokens."""
    later: Words = "\n\nRepeat the part of the previous context exactly, starting with"
    """The request for a later stretch; the 8 tokens before it follow."""
    suffix: Words = "\n"
    """What stands between the request and the stretch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stretch < 1:
            raise ConfigError(f"stretch={self.stretch} repeats nothing.\n  allowed: 1 or more tokens")
        if self.decode_every is not None:
            raise ConfigError(
                f"decode_every={self.decode_every} does not go with kv=kvzip, which acts when watching "
                "ends.\n  type  kv.decode_every=null   or  kv=h2o"
            )
        if self.layers is not None:
            raise ConfigError(
                f"layers={self.layers} does not go with kv=kvzip, whose layers share one budget.\n"
                "  type  kv.layers=null kv.keep=0.5"
            )


class KVzip(Speaking):
    """Score: the most attention that any token pays to an entry while its stretch is repeated, over query
    heads.

    KVzip (arXiv 2505.23416, section 3; kvpress' KVzipPress). For each stretch: request, suffix and the
    stretch's own embeddings run behind the whole cache; the softmax is over the first `sinks` entries, the
    stretch's entries and what is repeated. The first `sinks` are sure. Places are shared by all heads of all
    layers, so that rooms differ. Visual tokens have no ids, so the embeddings of what was watched (2 D bytes
    a token in half precision) are kept until watching ends; the repeating costs another prefill or two.
    plus=true (kvpress' kvzip_plus_normalization): before the maximum, attention is divided by ||h_t||, h_t
    the normed input of the layer, and multiplied by ||W_o,h v_e||_2 of the query head.
    """

    def __init__(self, config: KVzipConfig) -> None:
        super().__init__(config)
        self.stretch, self.layerwise, self.plus = config.stretch, config.layerwise, config.plus

    def after_chunk(self, cache: Cache, piece: Piece) -> None:
        """Notes what is padding, and the embeddings."""
        super().after_chunk(cache, piece)
        cache.state[WATCHED] = (*cache.state.get(WATCHED, ()), piece.embeds_BTD)

    def after_watch(self, cache: Cache) -> None:
        """Repeats, evicts, and lets go of the embeddings."""
        super().after_watch(cache)
        cache.state.pop(WATCHED, None)

    @override
    def kept(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None
    ) -> list[Tensor]:
        entries = [self.entries(cache, n, columns, room) for n, room in enumerate(rooms)]
        scores = [score_BNS.clone() for score_BNS in self.repeated(cache, columns, entries)]
        open_BNS = [h.open_BNS.expand_as(score) for h, score in zip(entries, scores, strict=True)]
        first_BNS = [h.of(columns.rank_BF) < self.settings.sinks for h in entries]
        if self.layerwise:
            return [
                h.protected_BNS | shared(score, mask, mask & first, h.free_BN1, 0.0)
                for h, score, mask, first in zip(entries, scores, open_BNS, first_BNS, strict=True)
            ]
        heads = scores[0].shape[1]
        total_B1 = torch.cat([h.free_BN1.expand(-1, heads, -1) for h in entries], dim=1).sum(dim=1)
        every_BX = torch.cat([mask.flatten(1) for mask in open_BNS], dim=1)
        sure_BX = torch.cat([(m & f).flatten(1) for m, f in zip(open_BNS, first_BNS, strict=True)], dim=1)
        sure_BX = newest(sure_BX, total_B1)
        left_B1 = total_B1 - sure_BX.sum(dim=1, keepdim=True)
        score_BX = torch.cat([score.flatten(1) for score in scores], dim=1)
        kept_BX = sure_BX | best(score_BX, every_BX & ~sure_BX, left_B1)
        parts = kept_BX.split([mask[0].numel() for mask in open_BNS], dim=1)
        return [
            h.protected_BNS | p.view_as(mask) for h, p, mask in zip(entries, parts, open_BNS, strict=True)
        ]

    def repeated(self, cache: Cache, columns: Columns, entries: list[Entries]) -> list[Tensor]:
        """Each layer's scores, [B, N, S]; nothing has been evicted, so that every column has its entry."""
        embeds_BFD = torch.cat(cache.state[WATCHED], dim=1)
        # Tokens of each row in order, padding behind them.
        order_BF = (~columns.real_BF).to(torch.uint8).argsort(dim=1, stable=True)
        count_B = columns.real_BF.sum(dim=1)
        heads = cache.layers[0][0].shape[1]
        scores = [
            embeds_BFD.new_zeros(cache.rows, heads, cache.fed, dtype=h.keys_BNSH.dtype) for h in entries
        ]
        entry_BF = [entry_of_column(h) for h in entries]
        suffix = self.tokens_of("kvzip", "suffix")
        outputs = [moved_output(self.reader, h, 2) for h in entries] if self.plus else []
        for start in range(0, int(count_B.max()), self.stretch):
            stop = min(start + self.stretch, int(count_B.max()))
            words = self.tokens_of("kvzip", "first" if start == 0 else "later")
            cue = range(max(0, start - CUE), start)
            own_BU = order_BF[:, start:stop]
            there_BU = torch.arange(start, stop, device=count_B.device) < count_B[:, None]
            parts = [
                self.embedded(words, cache.rows),
                embedded_at(embeds_BFD, order_BF[:, cue.start : cue.stop]),
                self.embedded(suffix, cache.rows),
                embedded_at(embeds_BFD, own_BU),
            ]
            before = sum(part.shape[1] for part in parts[:3])
            valid_BT = torch.cat([there_BU[:, :1].expand(-1, before), there_BU], dim=1)
            fork, embeds_BTD = cache.fork(), torch.cat(parts, dim=1)
            layout = Layout.text(*embeds_BTD.shape[:2], cache.next_B.device)
            with lengths_of_inputs(self.reader.causal_lm) if self.plus else nullcontext({}) as inputs:
                self.reader.extend(
                    embeds_BTD, fork, valid_BT=valid_BT, layout=layout, observe=embeds_BTD.shape[1]
                )
            sinks = min(self.settings.sinks, start)
            read_BU = torch.cat([order_BF[:, :sinks], own_BU], dim=1)
            for layer, score_BNF in enumerate(scores):
                entry_BU = entry_BF[layer].gather(1, read_BU)
                by = (
                    None
                    if not self.plus
                    else (take(outputs[layer], entry_BU[:, None, sinks:]), inputs[layer])
                )
                most_BNU = most_attention(fork, layer, entry_BU, sinks, there_BU, by)
                place_BNU = own_BU[:, None].expand_as(most_BNU)
                there_BNU = there_BU[:, None].expand_as(most_BNU)
                old_BNU = score_BNF.gather(2, place_BNU)
                score_BNF.scatter_(2, place_BNU, torch.where(there_BNU, most_BNU, old_BNU))
        return [s.gather(2, h.index_BNS.expand(-1, heads, -1)) for s, h in zip(scores, entries, strict=True)]

    def embedded(self, tokens: list[int], rows: int) -> Tensor:
        """Embeddings of tokens, for each row."""
        table = self.reader.causal_lm.get_input_embeddings().weight
        return table[torch.tensor(tokens, dtype=torch.int64, device=table.device)].expand(rows, -1, -1)


def entry_of_column(entries: Entries) -> Tensor:
    """Where a layer, whose heads agree, holds each column that was fed, int64 [B, F]."""
    valid_BS, index_BS = entries.valid_BNS[:, 0], entries.index_BNS[:, 0]
    rows, count = valid_BS.shape
    column_BS = torch.where(valid_BS, index_BS, entries.cache.fed)
    every_BF = torch.zeros(rows, entries.cache.fed + 1, dtype=torch.int64, device=index_BS.device)
    entry_BS = torch.arange(count, device=index_BS.device).expand(rows, -1)
    return every_BF.scatter(1, column_BS, entry_BS)[:, :-1]


def embedded_at(embeds_BFD: Tensor, column_BU: Tensor) -> Tensor:
    """Embeddings of some columns of each row."""
    return embeds_BFD.gather(1, column_BU[..., None].expand(-1, -1, embeds_BFD.shape[2]))


def most_attention(
    fork: Cache,
    layer: int,
    read_BU: Tensor,
    sinks: int,
    there_BU: Tensor,
    by: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The most attention that a repeated token pays to each entry of its stretch, [B, N, U].

    Args:
        fork: A cache that has just read a request and a stretch.
        layer: Of it.
        read_BU: Entries of the sinks and of the stretch.
        sinks: How many of these are sinks.
        there_BU: Which of the stretch's tokens exist.
        by: What attention is multiplied by, of each entry of the stretch and query head, [B, N, U, R], and
            what it is divided by, of each token of the pass, [B, T]; None = nothing.
    """
    observed = fork.observed
    assert observed is not None
    blocks = fork.layers[layer]
    keys = [at_least_single(b.rotated(fork.rotary)).expand(fork.rows, -1, -1, -1) for b in blocks]
    key_BNSH = torch.cat(keys, dim=2)
    own_BNTH = key_BNSH[:, :, -observed.tokens :]
    key_BNXH = torch.cat([take(key_BNSH, read_BU[:, None]), own_BNTH], dim=2)
    query = at_least_single(observed.queries[layer]).unflatten(1, (key_BNSH.shape[1], -1))
    real_BQ, column_BQ = observed.real_BQ, observed.columns_BQ
    sink_B = there_BU.new_ones(len(there_BU), sinks)
    sees_BQX = torch.cat(
        [
            torch.cat([sink_B, there_BU], dim=1)[:, None].expand(-1, column_BQ.shape[1], -1),
            torch.arange(observed.tokens, device=column_BQ.device) <= column_BQ[..., None],
        ],
        dim=2,
    )
    lowest = torch.finfo(key_BNXH.dtype).min
    rows, heads, sharing, queries, width = query.shape
    most_BNU = key_BNXH.new_zeros(rows, heads, there_BU.shape[1])
    tile = max(1, TILE // max(1, rows * sharing * key_BNXH.shape[2]))
    for head in range(heads):
        for start in range(0, queries, tile):
            part = slice(start, start + tile)
            logit = query[:, head, :, part] @ key_BNXH[:, head, None].mT * width**-0.5
            weight = logit.masked_fill(~sees_BQX[:, None, part], lowest).softmax(dim=-1)
            weight = (weight * real_BQ[:, None, part, None])[..., sinks : sinks + there_BU.shape[1]]
            if by is not None:
                length_BQ = by[1].gather(1, column_BQ[:, part].clamp(min=0))
                weight = weight * by[0][:, head].mT[:, :, None] / length_BQ[:, None, :, None]
            most_BNU[:, head] = torch.maximum(most_BNU[:, head], weight.amax(dim=(1, 2)))
    return most_BNU
