"""Attention of proxy questions and recency, mixed by layer: short memory below, long memory above."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.words import Speaking, Words, attention_of_words, read_words
from vxl.llm.attention.chosen import places_where
from vxl.llm.cache import Cache

STEEP, FLAT = 20.0, 0.5
"""How fast weights fall with age: in the short layers, and above the highest of the layers between."""
LEAST = 0.1
"""Weight of recency above the highest of the layers between."""
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
    answer does not depend on what was asked before. The mean of what is dropped, which the published code
    leaves in the long layers as one entry, is left out, and so is moving positions only near the model's
    limit (`compact` moves them at every act)."""

    per_head = False

    def __init__(self, config: HermesConfig) -> None:
        super().__init__(config)
        self.short, self.long = config.short, config.long

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
        return self.kept_by(scores, cache, columns, rooms, first_asked)


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
