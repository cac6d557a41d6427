"""The frame of every policy that scores entries: score, what is sure, room, moment."""

from functools import partial

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import Policy
from vxl.kv.scored.closing import close_up
from vxl.kv.scored.columns import Columns, columns_of, note_real
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries, index_of, per_entry, stacks, valid_of
from vxl.kv.scored.picked import picked
from vxl.kv.scored.room import all_fit, on_device, rooms_of, tell_too_small, too_small
from vxl.kv.scored.turns import TURN, ChunkPlan, choice_in_turn, plan_chunk
from vxl.llm.cache import Cache
from vxl.llm.cache.eviction import chosen_of
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
    together: bool = False
    """Whether `choose` takes several layers at once, as further rows: nothing in it may ask which layer it
    is, or take numbers of a row to be one for each row of the batch."""

    fills = True
    """Whether `choose` fills all places of every head: then it is known beforehand how many entries stay."""

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
        return self.settings.at == "question" and self.local is None

    @property
    def acts_in_decoding(self) -> bool:
        """Whether entries are evicted while an answer is decoded."""
        return self.settings.decode_every is not None

    @property
    def stays_near(self) -> bool:
        """Whether positions stay within the budget."""
        return self.settings.compact and self.bounded and self.settings.at == "chunks"

    @property
    def bounded(self) -> bool:
        """Whether the budget does not grow with the video."""
        return self.settings.tokens is not None or self.settings.mib is not None

    def score(self, entries: Entries) -> Tensor:
        """How much each entry of a layer is worth, float [B, N or 1, S]: the best of those that are neither
        protected nor sure stay."""
        raise NotImplementedError

    def sure(self, entries: Entries) -> Tensor | None:
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

    def choose(self, entries: Entries) -> Tensor:
        """Which of the entries that are not protected stay, bool [B, N or 1, S]."""
        return picked(entries, self.score(entries), self.sure(entries))

    def after_chunk(self, cache: Cache, piece: Piece) -> None:
        """Notes what is padding, and evicts down to the budget of what was watched so far."""
        note_real(cache, piece)
        if self.settings.at == "chunks":
            columns = columns_of(cache)
            if self.bounded:
                self.refuse_small(cache, columns, cache.fed)
            self.take_in(cache, columns)
            self.evict(cache, columns, self.rooms(cache, columns.on_host, cache.fed))

    @property
    def acts_in_turns(self) -> bool:
        """Whether a layer's own entries alone decide what it keeps, and how many are known beforehand."""
        hooks = ("before_chunk", "after_chunk", "take_in", "dropped", "evict", "kept", "close")
        if any(getattr(type(self), hook) is not getattr(Scored, hook) for hook in hooks):
            return False
        s, apart = self.settings, (self.together or self.same_everywhere) and self.fills
        as_is = s.bits is None and not s.offload and s.mib is None and not s.compact
        return apart and as_is and s.at == "chunks"

    def noted(self, cache: Cache, piece: Piece) -> None:
        """Works out how much each layer may hold behind the chunk."""
        note_real(cache, piece)
        columns = columns_of(cache)
        rooms = self.rooms(cache, columns.on_host, cache.fed)
        if self.settings.tokens is not None and cache.fed > self.settings.tokens:
            self.refuse_small(cache, columns, cache.fed)
        protected = int(self.protected(columns.on_host).sum())
        cache.scratch[TURN] = plan_chunk(columns, self.protected(columns), protected, rooms)

    def act_on(self, cache: Cache, layer: int) -> None:
        """Evicts one layer down to its room, as `evict` does with all of them."""
        plan: ChunkPlan = cache.scratch[TURN]
        blocks, count = cache.layers[layer], cache.entries(layer)
        stay = min(count, max(plan.rooms[layer], plan.protected))
        if stay == count:
            return
        choose = self.choose if type(self).choose is not Scored.choose else None
        choice = partial(choice_in_turn, cache, layer, plan, stay, self.score, self.sure, choose)
        if self.same_everywhere:
            entries = plan.choices.get((*(block.index_BNS for block in blocks), stay), choice)
        else:
            entries = choice()
        cache.layers[layer] = (chosen_of(blocks, entries),)

    def after_watch(self, cache: Cache) -> None:
        """Evicts once, where `at=finish`; and says so where what is protected is more than the budget."""
        cache.scratch.pop(TURN, None)
        columns = columns_of(cache)
        if self.settings.at != "question":
            self.refuse_small(cache, columns, cache.fed)
        if self.settings.at == "finish":
            self.evict(cache, columns, self.rooms(cache, columns.on_host, cache.fed))

    def after_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Evicts what was watched down to its budget, where `at=question`; the question stays beside it."""
        first = cache.fed - question.embeds_BTD.shape[1]
        cache.state[ASKED], cache.state[ANSWERED] = first, cache.fed
        if self.settings.at != "question":
            if self.acts_in_decoding:
                self.take_in(cache, columns_of(cache))
            return
        columns = columns_of(cache)
        self.refuse_small(cache, columns, first, tell=True)
        own_B = torch.tensor([len(tokens) for tokens in question.tokens])
        rooms = [room_B + own_B for room_B in self.rooms(cache, columns.on_host, first)]
        self.evict(cache, columns, rooms, first)

    def after_decode(self, cache: Cache) -> None:
        """Evicts every `decode_every` tokens of an answer."""
        every, first_answered = self.settings.decode_every, cache.state.get(ANSWERED)
        if every is None or first_answered is None:
            return
        columns = columns_of(cache)
        self.take_in(cache, columns)
        if (cache.fed - first_answered) % every == 0:
            first_asked = cache.state.get(ASKED)
            if self.bounded:
                self.refuse_small(cache, columns, cache.fed, first_asked)
            self.evict(cache, columns, self.rooms(cache, columns.on_host, cache.fed), first_asked)

    def evict(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None = None
    ) -> None:
        """Evicts down to each layer's room.

        Args:
            cache: Whose last pass was observed, where the score reads queries.
            columns: What it was fed.
            rooms: Entries that each layer's heads may hold, int64 [B] a layer, in the host's memory.
            first_asked: The column that a question begins at; what follows is protected.
        """
        if all_fit(cache, rooms):
            return
        # Heads and rows keep different numbers of a block's entries, but as many of all.
        one_count = self.per_head or cache.rows > 1 or self.settings.at == "chunks"
        cache.keep(self.kept(cache, columns, on_device(rooms, cache), first_asked), joined=one_count)
        self.dropped(cache)
        if self.settings.compact:
            self.close(cache, columns)

    def close(self, cache: Cache, columns: Columns) -> None:
        """Gives what is left positions that count it (`compact`)."""
        close_up(cache)

    def kept(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None
    ) -> list[Tensor]:
        """Which entries of each layer stay, bool [B, N or 1, S] a layer; see `evict`. Rooms are on the device
        here."""
        if self.same_everywhere and all(room_B is rooms[0] for room_B in rooms):
            entries = self.entries(cache, 0, columns, rooms[0], first_asked)
            return [entries.protected_BNS | self.choose(entries)] * len(cache.layers)
        keep: list[Tensor] = []
        for first, *others in stacks(cache) if self.together else ([n] for n in range(len(cache.layers))):
            room_B = torch.cat([rooms[n] for n in (first, *others)]) if others else rooms[first]
            entries = self.entries(cache, first, columns, room_B, first_asked, tuple(others))
            keep += (entries.protected_BNS | self.choose(entries)).split(cache.rows)
        return keep

    def entries(
        self,
        cache: Cache,
        layer: int,
        columns: Columns,
        room_B: Tensor,
        first_asked: int | None = None,
        others: tuple[int, ...] = (),
    ) -> Entries:
        """A layer's entries and how many of them may stay; and those of others behind them."""
        protected_BF, layers = self.protected(columns, first_asked), (layer, *others)
        protected_BNS = valid_of(cache, layers) & per_entry(protected_BF, index_of(cache, layers))
        return Entries(cache, layer, columns, room_B, protected_BNS, others)

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

    def least_room(self, cache: Cache, columns: Columns, until: int) -> Tensor:
        """Entries that every layer's heads may hold of the first `until` columns, int64 [B]; see `rooms`."""
        return torch.stack(self.rooms(cache, columns, until)).amin(dim=0)

    def refuse_small(
        self, cache: Cache, columns: Columns, until: int, asked: int | None = None, *, tell: bool = False
    ) -> None:
        """Raises where a row has no room, or less than what is protected of the first `until` columns takes.

        With `tell`, at a question about what has been watched whole, it is only said.

        Raises:
            ConfigError: It has, and something else was watched that would be lost whole.
        """
        columns = columns.on_host
        protected_B = self.protected(columns, asked)[:, :until].sum(dim=1)
        watched_B = columns.real_BF[:, :until].sum(dim=1)
        some_B = columns.visual_BF[:, :until].any(dim=1)
        if self.settings.protect != "text":
            some_B = watched_B > 0
        room_B = self.least_room(cache, columns, until)
        small_B = some_B & ((protected_B > room_B) | (room_B == 0))
        if not bool(small_B.any()):
            return
        row = int((protected_B - room_B).masked_fill(~small_B, -cache.fed).argmax())
        message = too_small(self.settings, int(room_B[row]), int(protected_B[row]), int(watched_B[row]))
        if not tell:
            raise ConfigError(message)
        tell_too_small(self.settings, message)
