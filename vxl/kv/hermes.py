"""Attention of proxy questions and recency, mixed by layer: short memory below, long memory above."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.words import Speaking, Words, attention_of_words, read_words
from vxl.llm.attention.chosen import places_where
from vxl.llm.block import Block, joined_block, places_of
from vxl.llm.cache import Cache

STEEP, FLAT = 20.0, 0.5
"""How fast weights fall with age: in the short layers, and above the highest of the layers between."""
LEAST = 0.1
"""Weight of recency above the highest of the layers between."""
SUMMARIES = "kv.hermes.summaries"
"""Where a cache has what stands for what is dropped, while that happens (`Cache.scratch`)."""
FROM_ABOVE = (0.1, 0.3, 0.4)
"""How much of the score of the layer above counts in short, middle and long layers."""


@dataclass(frozen=True, kw_only=True)
class HermesConfig(ScoredConfig):
    """The newest entries stay in the lower layers, those that a proxy question attends to in the higher
    ones."""

    _target_: str = "vxl.kv.hermes.Hermes"
    short: float = 0.3
    """Part of the layers, the lowest ones, that go by recency alone."""
    long: float = 0.3
    """Part of the layers, the highest ones, that go by attention alone."""
    local_question: Words = (
        "Describe the current scene in detail, focusing on specific objects, fine-grained actions, and "
        "spatial relationships."
    )
    """What is asked about the present scene, in the layers between too: a text, or its tokens."""
    global_question: Words = (
        "Summarize the video narrative, identifying main characters, key events, timeline changes, and the "
        "overall theme."
    )
    """What is asked about the whole story."""
    between: Words = "; "
    """What joins the two for the layers between."""
    summary: bool = True
    """Whether one place of each long layer holds the mean of what it drops, of keys (un-rotated) and of
    values, at the position behind the newest entry that stays; it can be dropped later as any other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.short < 0 or self.long < 0 or self.short + self.long > 1:
            raise ConfigError(
                f"short={self.short} long={self.long} are no parts of the layers.\n"
                "  allowed: 0 or more each, 1 together at most\n  e.g.  short=0.3 long=0.3"
            )
        if not self.local_question or not self.global_question:
            raise ConfigError(
                "kv=hermes needs a local_question and a global_question.\n  give a text, or tokens"
            )
        if self.summary and self.bits is not None:
            raise ConfigError(
                f"bits={self.bits} summary=true do not go together: a summary is written into a place among "
                "entries that share codes.\n  type one of  kv.summary=false   kv.bits=null"
            )
        if self.at == "question":
            raise ConfigError(
                "at=question does not go with kv=hermes, which stands in for a question.\n"
                "  allowed: at=chunks, at=finish"
            )


class Hermes(Speaking):
    """Score: (1 - alpha_l) * attention + alpha_l * exp(-k_l * age), both stretched to 0..1 in each layer;
    then from the second highest layer down s_l = (1 - g_l) s_l + g_l s_(l+1). One set for all heads of a
    layer.

    HERMES (arXiv 2601.14724, section 3; haowei-freesky/HERMES, inference/llavaov_online_official.py). With
    the published code's sdpa or flash attention the proxy questions never run through the layers: each
    layer's queries come from the embeddings, without a mask among them. Here they are the true ones. From the
    second question on the published proxies name the last question and answer; here they do not, so that an
    answer does not depend on what was asked before. Moving positions only near the model's limit, as
    published, is left out (`compact` moves them at every act)."""

    per_head = False

    def __init__(self, config: HermesConfig) -> None:
        super().__init__(config)
        self.short, self.long, self.summary = config.short, config.long, config.summary

    @override
    def kept(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None
    ) -> list[Tensor]:
        layers = len(rooms)
        below, above = borders(layers, self.short, self.long)
        local = self.tokens_of("hermes", "local_question")
        both = [*local, *self.tokens_of("hermes", "between", "global_question")]
        # No word sees a later one: of both questions the first words are the local question read alone.
        mixed = read_words(cache, self.reader, both)
        attentions = attention_of_words(cache, mixed, columns, range(below), len(local))
        attentions += attention_of_words(cache, mixed, columns, range(below, above))
        whole = read_words(cache, self.reader, self.tokens_of("hermes", "global_question"))
        attentions += attention_of_words(cache, whole, columns, range(above, layers))
        entries = [self.entries(cache, n, columns, room, first_asked) for n, room in enumerate(rooms)]
        scores = [torch.zeros_like(attention_B1S) for attention_B1S in attentions]
        found = [places_where(h.open_BNS[:, 0], h.open_BNS.shape[-1]) for h in entries]
        counts = torch.stack([count_B for _, count_B in found]).tolist()
        for row in range(cache.rows):
            places = [order_BS[row, : counts[n][row]].long() for n, (order_BS, _) in enumerate(found)]
            own = [attentions[n][row, 0][place_O] for n, place_O in enumerate(places)]
            for layer, score_O in enumerate(mixed_scores(own, below, above)):
                scores[layer][row, 0].index_copy_(0, places[layer], score_O)
        if not self.summary:
            return self.kept_by(scores, cache, columns, rooms, first_asked)
        fewer = [room_B - int(n >= above) for n, room_B in enumerate(rooms)]
        keep = self.kept_by(scores, cache, columns, fewer, first_asked)
        summaries = [summary_of(entries[n], keep[n]) for n in range(above, layers)]
        cache.scratch[SUMMARIES] = summaries
        return [*keep[:above], *(summary.keep_B1S for summary in summaries)]

    @override
    def dropped(self, cache: Cache) -> None:
        """Writes the summaries into their places."""
        for summary in cache.scratch.pop(SUMMARIES, ()):
            if cache.layers[summary.layer]:  # something stays
                cache.rewrite(summary.layer, partial(written, summary, cache))


class Summary(NamedTuple):
    """One entry for all that a layer drops."""

    layer: int
    keep_B1S: Tensor
    """What stays, the entry in whose place the summary comes included: the newest of those that go."""
    there_B: Tensor
    """Rows that have one: something goes, and there is a place."""
    column_B: Tensor
    """The column that this entry was fed as."""
    position_B: Tensor
    keys_BN1H: Tensor
    """Un-rotated."""
    values_BN1H: Tensor


def summary_of(entries: Entries, keep_B1S: Tensor) -> Summary:
    """The summary of what a layer drops, which keeps one entry less than it may."""
    gone_B1S = entries.valid_BNS & ~keep_B1S
    count_B = gone_B1S.sum(dim=(1, 2))
    there_B = (count_B > 0) & (keep_B1S.sum(dim=(1, 2)) < entries.room_B)
    number_S = torch.arange(gone_B1S.shape[-1], device=gone_B1S.device)
    newest_B = (gone_B1S[:, 0] * number_S).amax(dim=1)
    own_B1S = (number_S == newest_B[:, None])[:, None] & there_B[:, None, None]
    stays_B1S = keep_B1S | own_B1S
    column_B = entries.index_BNS[:, 0].gather(1, newest_B[:, None])[:, 0]
    positions_B1S = entries.cache.positions(entries.layer)
    lowest = torch.iinfo(positions_B1S.dtype).min
    last_B = positions_B1S.masked_fill(~(keep_B1S & entries.open_BNS), lowest).amax(dim=(1, 2))
    own_B = positions_B1S[:, 0].gather(1, newest_B[:, None])[:, 0]
    position_B = torch.where(last_B > lowest, last_B + 1, own_B)
    share_B11S = (gone_B1S / count_B.clamp(min=1)[:, None, None])[:, :, None]
    means = [share_B11S.to(x.dtype) @ x for x in (entries.keys_BNSH, entries.values_BNSH)]
    return Summary(entries.layer, stays_B1S, there_B, column_B, position_B, *means)


def written(summary: Summary, cache: Cache, blocks: tuple[Block, ...]) -> Block:
    """A layer's blocks as one, with the summary in its place."""
    block = joined_block(blocks, places_of(blocks))
    there_B111 = summary.there_B[:, None, None, None]
    found_B1S = block.index_BNS[:, :1] == summary.column_B[:, None, None]
    if block.valid_BNS is not None:
        found_B1S = found_B1S & block.valid_BNS[:, :1]
    place_B1 = found_B1S[:, 0].long().argmax(dim=1, keepdim=True)

    def put(whole: Tensor, one: Tensor) -> Tensor:
        whole = whole.expand(len(place_B1), *whole.shape[1:])
        at = place_B1[..., *[None] * (whole.ndim - 2)].expand(*whole.shape[:2], 1, *whole.shape[3:])
        there = there_B111 if whole.ndim == 4 else there_B111[..., 0]
        return whole.scatter(2, at, torch.where(there, one.to(whole.dtype), whole.gather(2, at)))

    position_B11 = summary.position_B[:, None, None]
    keys_BNSH = put(block.keys_BNSH, summary.keys_BN1H)
    rotated_BNSH = None
    if block.rotated_BNSH is not None:
        turned = cache.rotary.turn(summary.keys_BN1H.to(keys_BNSH.dtype), position_B11)
        rotated_BNSH = put(block.rotated_BNSH, turned)
    positions_BNS = put(block.positions_BNS, position_B11)
    values_BNSH = put(block.values_BNSH, summary.values_BN1H)
    return Block(keys_BNSH, values_BNSH, positions_BNS, block.index_BNS, block.valid_BNS, rotated_BNSH)


def borders(layers: int, short: float, long: float) -> tuple[int, int]:
    """The first layer that is not short, and the first long one."""
    return int(layers * short), int(layers * (1 - long))


def mixed_scores(attention: list[Tensor], below: int, above: int) -> list[Tensor]:
    """Scores of each layer's entries, oldest first.

    Args:
        attention: Of the layer's proxy question on each entry, a vector a layer.
        below: The first layer that is not short.
        above: The first long layer.
    """
    scores: list[Tensor] = []
    for layer, own_O in enumerate(attention):
        if layer < below:
            alpha, steep = 1.0, STEEP
        elif layer >= above:
            alpha, steep = 0.0, 0.0
        else:
            part = (layer - below) / (above - below)
            alpha, steep = 1 - (1 - LEAST) * part, STEEP - (STEEP - FLAT) * part
        last = max(len(own_O) - 1, 1)
        age_O = (len(own_O) - 1 - torch.arange(len(own_O), device=own_O.device, dtype=own_O.dtype)) / last
        scores.append((1 - alpha) * stretched(own_O) + alpha * stretched((-steep * age_O).exp()))
    for layer in range(len(scores) - 2, -1, -1):
        gamma = FROM_ABOVE[0] if layer < below else FROM_ABOVE[2] if layer >= above else FROM_ABOVE[1]
        own_O, above_O = scores[layer], scores[layer + 1]
        if len(own_O) and len(above_O) and len(own_O) != len(above_O):
            above_O = F.interpolate(above_O[None, None], size=len(own_O), mode="linear")[0, 0]
        if len(own_O) == len(above_O):
            scores[layer] = (1 - gamma) * own_O + gamma * above_O
    return scores


def stretched(vector: Tensor) -> Tensor:
    """From 0 to 1."""
    if not len(vector):
        return vector
    return (vector - vector.min()) / (vector.max() - vector.min() + 1e-6)
