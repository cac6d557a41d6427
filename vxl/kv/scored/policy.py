"""The frame of every policy that scores entries: score, what is sure, room, moment."""

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import Policy
from vxl.kv.scored.closing import close_up
from vxl.kv.scored.columns import Columns, columns_of, note_real
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.held import Held, per_entry
from vxl.kv.scored.ranking import chosen
from vxl.kv.scored.room import rooms_of
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Kind
from vxl.sequence.piece import Piece

ASKED = "kv.scored.asked"
"""Where a fork notes the column that its question begins at."""
ANSWERED = "kv.scored.answered"
"""Where a fork notes the column that its answer begins at."""


class Scored(Policy):
    """Scores entries, keeps the best of every head, and everything that is protected.

    A subclass gives `score` and, where it has any, `sure`; and says of itself with the class attributes below
    what it reads and whether its heads and layers agree.
    """

    observers: int = 0
    """Of how many last tokens of a piece (or of a question) the score reads the queries."""
    per_head: bool = True
    """Whether heads keep entries of their own. Otherwise `score` has one head for all: [B, 1, S]."""
    same_everywhere: bool = False
    """Whether all layers keep the same."""

    def __init__(self, config: ScoredConfig) -> None:
        super().__init__(config)
        self.settings = config
        decodes = config.decode_every is not None
        self.observe_chunks = self.observers if config.at == "chunks" else 0
        self.observe_question = self.observers if config.at == "question" or decodes else 0
        self.observe_answer = self.observers if decodes else 0

    def equip(self, llm: Decoder) -> None:
        """Checks that the layers that have budgets are the model's."""
        layers = self.settings.layers
        if layers is None or sorted(layers) == list(range(llm.layers)):
            return
        unknown = sorted(set(layers) - set(range(llm.layers)))
        missing = sorted(set(range(llm.layers)) - set(layers))
        what = f"has no layer {unknown[0]}" if unknown else f"has a layer {missing[0]}, too"
        raise ConfigError(
            f"kv.layers={layers}: the language model {what}.\n"
            f"  allowed: a fraction for each of the layers 0 to {llm.layers - 1}\n"
            f"  e.g.  kv.layers={{{', '.join(f'{n}: 0.5' for n in range(min(2, llm.layers)))}, ...}}"
        )

    @property
    def acts_in_prefill(self) -> bool:
        """Whether pieces of the prefill are to be single chunks."""
        return self.settings.at == "chunks"

    @property
    def keeps_all_watched(self) -> bool:
        """Whether the context holds everything until a question comes."""
        return self.settings.at == "question"

    @property
    def acts_in_decoding(self) -> bool:
        """Whether entries are evicted while an answer is decoded."""
        return self.settings.decode_every is not None

    @property
    def stays_near(self) -> bool:
        """Whether positions stay within the budget."""
        bounded = self.settings.tokens is not None or self.settings.mib is not None
        return self.settings.compact and bounded and self.settings.at == "chunks"

    def score(self, held: Held) -> Tensor:
        """How much each entry of a layer is worth, float [B, N or 1, S]: the best of those that are neither
        protected nor sure stay."""
        raise NotImplementedError

    def sure(self, held: Held) -> Tensor | None:
        """Entries that stay before any others, bool [B, N or 1, S]; None = none. They fill places of the
        budget; where there are more than places, the newest."""
        return None

    def take_in(self, cache: Cache, columns: Columns) -> None:
        """Called when a piece or a token of the answer is in the cache, before anything is evicted: for
        statistics, which go into `cache.state`."""

    def dropped(self, cache: Cache) -> None:
        """Called when entries have been evicted, with those that are left."""

    def rooms(self, cache: Cache, columns: Columns, until: int) -> list[Tensor]:
        """Entries that each layer's heads may hold of the first `until` columns, int64 [B] a layer."""
        return rooms_of(self.settings, cache, columns, until, per_head=self.per_head)

    def choose(self, held: Held) -> Tensor:
        """Which of the entries that are not protected stay, bool [B, N or 1, S]."""
        return picked(held, self.score(held), self.sure(held))

    def after_chunk(self, cache: Cache, piece: Piece) -> None:
        """Notes what is padding, and evicts down to the budget of what was watched so far."""
        note_real(cache, piece)
        if self.settings.at == "chunks":
            columns = columns_of(cache)
            self.take_in(cache, columns)
            self.evict(cache, columns, self.rooms(cache, columns, cache.fed))

    def after_watch(self, cache: Cache) -> None:
        """Evicts once, where `at=finish`; and says so where what is protected is more than the budget."""
        columns = columns_of(cache)
        rooms = self.rooms(cache, columns, cache.fed)
        if self.settings.at == "finish":
            self.evict(cache, columns, rooms)
        if self.settings.at != "question":
            self.refuse_small(cache, columns, rooms)

    def after_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Evicts what was watched down to its budget, where `at=question`; the question stays beside it."""
        first = cache.fed - question.embeds_BTD.shape[1]
        cache.state[ASKED], cache.state[ANSWERED] = first, cache.fed
        if self.settings.at != "question":
            if self.acts_in_decoding:
                self.take_in(cache, columns_of(cache))
            return
        columns = columns_of(cache)
        own_B = question.tokens_B
        rooms = [room_B + own_B for room_B in self.rooms(cache, columns, first)]
        self.evict(cache, columns, rooms, first)

    def after_decode(self, cache: Cache) -> None:
        """Evicts every `decode_every` tokens of an answer."""
        every, began = self.settings.decode_every, cache.state.get(ANSWERED)
        if every is None or began is None:
            return
        columns = columns_of(cache)
        self.take_in(cache, columns)
        if (cache.fed - began) % every == 0:
            rooms = self.rooms(cache, columns, cache.fed)
            self.evict(cache, columns, rooms, cache.state.get(ASKED))

    def evict(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None = None
    ) -> None:
        """Evicts down to each layer's room.

        Args:
            cache: Whose last pass was observed, where the score reads queries.
            columns: What it was fed.
            rooms: Entries that each layer's heads may hold, int64 [B] a layer.
            first_asked: The column that a question begins at; what follows is protected.

        Raises:
            ConfigError: `tokens` or `mib` is less than what is protected.
        """
        layers = range(len(cache.layers))
        fits = [(cache.valid(n).sum(dim=-1) <= rooms[n][:, None]).all() for n in layers]
        if bool(torch.stack(fits).all()):
            return
        if self.settings.tokens is not None or self.settings.mib is not None:
            self.refuse_small(cache, columns, rooms, first_asked)
        if self.per_head or cache.rows > 1:
            cache.join()  # heads and rows keep different numbers of a block's entries, but as many of all
        cache.keep(self.kept(cache, columns, rooms, first_asked))
        self.dropped(cache)
        if self.settings.compact:
            self.close(cache, columns)

    def close(self, cache: Cache, columns: Columns) -> None:
        """Gives what is left positions that count it (`compact`)."""
        close_up(cache)

    def kept(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None
    ) -> list[Tensor]:
        """Which entries of each layer stay, bool [B, N or 1, S] a layer; see `evict`."""
        keep: list[Tensor] = []
        for layer in range(len(cache.layers)):
            if layer and self.same_everywhere and torch.equal(rooms[layer], rooms[0]):
                keep.append(keep[0])
                continue
            held = self.held(cache, layer, columns, rooms[layer], first_asked)
            keep.append(held.protected_BNS | self.choose(held))
        return keep

    def held(
        self, cache: Cache, layer: int, columns: Columns, room_B: Tensor, first_asked: int | None = None
    ) -> Held:
        """A layer's entries and how many of them may stay."""
        protected_BF = self.protected(columns, first_asked)
        protected_BNS = cache.valid(layer) & per_entry(protected_BF, cache.index(layer))
        return Held(cache, layer, columns, room_B, protected_BNS)

    def protected(self, columns: Columns, first_asked: int | None = None) -> Tensor:
        """Columns whose entries stay whatever their score, bool [B, F]."""
        if self.settings.protect == "text":
            protected_BF = columns.kind_BF != Kind.VISUAL
        else:
            protected_BF = columns.rank_BF < (self.settings.sinks if self.settings.protect == "sinks" else 0)
        if first_asked is not None:
            column_F = torch.arange(columns.kind_BF.shape[1], device=columns.kind_BF.device)
            protected_BF = protected_BF | (column_F >= first_asked)
        return protected_BF & columns.real_BF

    def refuse_small(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None = None
    ) -> None:
        """Raises where a row's protected entries are more than its room.

        Raises:
            ConfigError: They are, and something else was watched that would be lost whole.
        """
        protected_B = self.protected(columns, first_asked).sum(dim=1)
        some_B = columns.visual_BF.any(dim=1) | (self.settings.protect != "text")
        least_B = torch.stack(rooms).amin(dim=0)
        if bool(((protected_B <= least_B) | ~some_B).all()):
            return
        row = int((protected_B - least_B).masked_fill(~some_B, -cache.fed).argmax())
        most, room = int(protected_B[row]), int(least_B[row])
        given = next(name for name in self.settings.budgets if getattr(self.settings, name) is not None)
        raise ConfigError(
            f"kv.{given}={getattr(self.settings, given)} is room for {room} entries, but "
            f"kv.protect={self.settings.protect} keeps {most} in any case: no visual token would stay.\n"
            f"  allowed: more than {most} entries, of {int(columns.real_BF[row].sum())} tokens\n"
            "  type one of  a larger budget   kv.protect=none   kv.of=visual (with kv.keep)"
        )


def picked(held: Held, score_BNS: Tensor, sure_BNS: Tensor | None = None) -> Tensor:
    """The entries with the best scores that fill a layer's free places, the sure ones before them."""
    heads = max(score_BNS.shape[1], held.open_BNS.shape[1])
    score_BNS, open_BNS = score_BNS.expand(-1, heads, -1), held.open_BNS.expand(-1, heads, -1)
    sure_BNS = torch.zeros_like(open_BNS) if sure_BNS is None else sure_BNS.expand_as(open_BNS)
    return chosen(score_BNS, open_BNS, sure_BNS, held.free_BN1)
