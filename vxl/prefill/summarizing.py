"""Windows of visual tokens with beacons among them, of which alone something stays: how `kv=vst` runs.

Rows of a batch run side by side: in each round every row has its next segment (text, or a window), padded to
the longest. Memory for activations follows a window. In training all windows of a sample are in one graph,
through the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.distributed import calls_on_every_rank
from vxl.errors import ConfigError
from vxl.kv.policy import SEED, Policy
from vxl.kv.segments import Progress, WindowSegment
from vxl.kv.vst import VST
from vxl.llm.block import sent
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.prefill.base import Hidden, Prefill
from vxl.prefill.pieces import concatenated, real_tokens, rest_of
from vxl.prefill.rounds import Round, layout_of_round, rounds_of, work_of
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece

STATE = "prefill.summarizing"
"""Where a cache notes how far its rows are."""
LEVELS = "prefill.summarizing.levels"
"""Where a cache has the caches of the policy's other levels, until watching ends."""
BLOCKS = 8
"""Windows whose beacons lie in blocks of their own, before a layer's blocks are joined: every window reads
all of them, and joining them copies the cache."""


@dataclass(frozen=True, eq=False)
class WindowState:
    """How far the rows of a cache are, and what has not gone in yet; replaced and never changed."""

    progress: tuple[Progress, ...]
    waiting: Piece | None = None


def around(prefill: Prefill, policy: Policy, seed: int) -> Prefill:
    """The prefill that a model runs with: in windows where its policy summarizes, else the given one.

    Args:
        prefill: The one that was asked for.
        policy: The model's.
        seed: The model's, for ratios that are drawn in training.

    Raises:
        ConfigError: Prefill and policy both say what tokens see.
    """
    if policy.local is not None and not prefill.lets_policies_look:
        raise ConfigError(
            f"prefill={prefill.config.module} and kv={policy.config.module} kv.local={policy.local} both say "
            f"what tokens see.\n  allowed: one of them\n  type  prefill=full   or  kv.local=null"
        )
    return Summarizing(prefill, cast(VST, policy), seed) if policy.summarizes else prefill


class Summarizing(Prefill):
    """Runs sequences window by window.

    Args:
        inner: The prefill that was asked for; only its piece size counts.
        vst: Where windows and beacons are.
        seed: Of the ratios that are drawn.
    """

    def __init__(self, inner: Prefill, vst: VST, seed: int) -> None:
        super().__init__(inner.config)
        self.vst = vst
        self.seed = seed

    def forward(
        self,
        llm: Decoder,
        policy: Policy,
        embeds_BTD: Tensor,
        positions_BT: Tensor,
        layout: Layout,
        draw: int = 0,
        ratios: Sequence[int] = (),
    ) -> Hidden:
        """See `Prefill.forward`. Positions count what stays, so those of the batch are not used.

        All ranks of a sharded model make as many passes as the one that needs most.

        Raises:
            ConfigError: Rows hold several packed samples.
        """
        if bool((layout.document_BT > 0).any()):
            raise ConfigError("kv=vst can't train on packed samples.\n  type  data.packing=false")
        rows, width, depth = embeds_BTD.shape
        cache = llm.new_cache(rows=rows, memo=False)
        piece = Piece(embeds_BTD, layout, layout.real_BT)
        draws = [draw + row for row in range(rows)]
        rounds = rounds_of(self.plan(llm, cache, piece, [Progress()] * rows, draws, ratios, ended=True)[0])
        idle = calls_on_every_rank(len(rounds), llm) - len(rounds)
        beacons = sum(int(round_.beacon_BL.sum()) for round_ in rounds)
        numbers = {"vst_ratio": int(layout.visual_BT.sum()) / beacons} if beacons else {}
        outputs, places, windows = [], [], 0
        for round_ in rounds:
            if round_.beacon_BL.any():
                if self.vst.settings.truncate and windows % self.vst.settings.truncate == 0:
                    cache.detach()
                windows += 1
            hidden_BLD = self.run(llm, cache, piece, round_)
            own_BL = round_.real_BL & ~round_.beacon_BL
            outputs.append(hidden_BLD[torch.from_numpy(own_BL).to(hidden_BLD.device)])
            places.append((np.arange(rows)[:, None] * width + round_.column_BL)[own_BL])
        # The visual tokens' too: under FSDP2 the backward pass needs every output of the model in the graph.
        joined_ND = torch.cat(outputs)
        place_N = torch.from_numpy(np.concatenate(places)).to(joined_ND.device)
        hidden_ND = joined_ND.new_zeros(rows * width, depth).index_copy(0, place_N, joined_ND)
        for _ in range(idle):
            hidden_ND = hidden_ND + 0.0 * self.pass_idly(llm, embeds_BTD).sum()
        tokens, pairs = work_of(rounds)
        return Hidden(hidden_ND.view(rows, width, depth), numbers, tokens, pairs)

    def begin(self, policy: Policy, cache: Cache, tokens: int) -> None:
        """See `Prefill.begin`; makes no room, since few tokens stay."""

    def feed(self, llm: Decoder, policy: Policy, cache: Cache, piece: Piece) -> Tensor:
        """See `Prefill.feed`. A window that may go on waits for the next piece, so that no number depends on
        where pieces end. Where the policy has several levels, each is a cache of its own until watching
        ends."""
        others = [level.fork() for level in self.others(llm, cache)]
        cache.state[LEVELS] = others
        outputs = [
            self.go_on(llm, level, piece, ratios, ended=False)
            for level, ratios in zip((cache, *others), self.vst.levels, strict=True)
        ]
        return outputs[0]

    def finish(self, llm: Decoder, policy: Policy, cache: Cache) -> None:
        """Runs the window that waits."""
        others = [level.fork() for level in self.others(llm, cache)]
        for level, ratios in zip((cache, *others), self.vst.levels, strict=True):
            self.go_on(llm, level, None, ratios, ended=True)
        cache.state.pop(LEVELS, None)
        self.vst.join_levels(cache, others)

    def others(self, llm: Decoder, cache: Cache) -> list[Cache]:
        """The caches of the levels beside the first."""
        if LEVELS in cache.state:
            return cache.state[LEVELS]
        more = [llm.new_cache(rows=cache.rows) for _ in self.vst.levels[1:]]
        for level in more:
            level.state[SEED] = cache.state.get(SEED, 0)
        return more

    def go_on(
        self, llm: Decoder, cache: Cache, piece: Piece | None, ratios: Sequence[int], *, ended: bool
    ) -> Tensor:
        """Runs what waits and a piece, as far as windows are whole."""
        before: WindowState = cache.state.get(STATE, WindowState((Progress(),) * cache.rows))
        pieces = [part for part in (before.waiting, piece) if part is not None]
        if not pieces:
            return torch.empty(cache.rows, 0, llm.width, device=cache.next_B.device)
        whole = concatenated(pieces)
        draws = [int(cache.state.get(SEED, 0))] * cache.rows
        plans, counts, progress = self.plan(llm, cache, whole, before.progress, draws, ratios, ended=ended)
        outputs = [self.run(llm, cache, whole, round_, layout=True) for round_ in rounds_of(plans)]
        cache.state[STATE] = WindowState(tuple(progress), rest_of(whole, counts))
        self.vst.hold(cache)
        return torch.cat(outputs, dim=1) if outputs else whole.embeds_BTD[:, :0]

    def plan(
        self,
        llm: Decoder,
        cache: Cache,
        piece: Piece,
        progress: Sequence[Progress],
        draws: Sequence[int],
        ratios: Sequence[int],
        *,
        ended: bool,
    ) -> tuple[list[list[WindowSegment]], list[int], list[Progress]]:
        """For each row its segments, how many tokens they take, and where it is then."""
        layout, lengths = piece.on_host, real_tokens(piece).sum(dim=1).tolist()
        kind, item, group = (x.numpy() for x in (layout.kind_BT, layout.item_BT, layout.group_BT))
        held_B = entries_of(cache)
        plans, counts, after = [], [], []
        for row, length in enumerate(lengths):
            if not length:  # a question keeps nothing of this piece: its row stays where it is
                plans.append([])
                counts.append(0)
                after.append(progress[row])
                continue
            segments, count, now = self.vst.segments(
                kind[row, :length],
                item[row, :length],
                group[row, :length],
                progress[row],
                ended=ended,
                seeds=(self.seed, draws[row]),
                entries=held_B[row],
                most=llm.max_positions,
                similarity=lambda columns, row=row: similarity_of_groups(piece, row, columns),
                ratios=ratios,
            )
            plans.append(segments)
            counts.append(count)
            after.append(now)
        return plans, counts, after

    def run(self, llm: Decoder, cache: Cache, piece: Piece, round_: Round, *, layout: bool = False) -> Tensor:
        """Makes one pass and drops what does not stay; hidden_BLD, the beacons' included."""
        assert llm.beacon is not None
        device, (rows, width, depth) = piece.embeds_BTD.device, piece.embeds_BTD.shape
        column_BL, beacon_BL, real_BL, place_N = (
            sent(torch.from_numpy(x), device)
            for x in (round_.column_BL, round_.beacon_BL, round_.real_BL, np.flatnonzero(round_.beacon_BL))
        )
        source_BL = column_BL + width * torch.arange(rows, device=device)[:, None]
        embeds_ND = piece.embeds_BTD.flatten(0, 1).index_select(0, source_BL.flatten())
        beacon_ND = llm.beacon.to(embeds_ND.dtype).expand(len(place_N), -1)
        embeds_BLD = embeds_ND.index_copy(0, place_N, beacon_ND).view(rows, -1, depth)
        in_graph = len(place_N) > 0 or torch.is_grad_enabled()
        hidden_BLD = llm.extend(
            embeds_BLD,
            cache,
            valid_BT=None if round_.real_BL.all() else real_BL,
            layout=layout_of_round(piece.layout, column_BL, beacon_BL, real_BL) if layout else None,
            beacons=place_N if in_graph else None,
        )
        if (round_.stays_BL != round_.real_BL).any():
            cache.close_up(torch.from_numpy(round_.stays_BL))
            dropped_B = round_.real_BL.sum(axis=1) - round_.stays_BL.sum(axis=1)
            cache.next_B = cache.next_B - sent(torch.from_numpy(dropped_B), device)
            if len(cache.layers[0]) > BLOCKS and not torch.is_grad_enabled():
                cache.join()
        return hidden_BLD

    def pass_idly(self, llm: Decoder, embeds_BTD: Tensor) -> Tensor:
        """A pass of one token that counts for nothing."""
        assert llm.beacon is not None
        nowhere = torch.empty(0, dtype=torch.int64, device=embeds_BTD.device)
        first_11 = torch.zeros(1, 1, dtype=torch.int64, device=embeds_BTD.device)
        return llm(embeds_BTD[:1, :1] + llm.beacon, llm.step(first_11, beacons=nowhere))


def entries_of(cache: Cache) -> list[int]:
    """Entries that each row holds, without those that only other rows have."""
    if cache.rows == 1 or not cache.entries():
        return [cache.entries()] * cache.rows
    return cache.valid()[:, 0].sum(dim=-1).tolist()


def similarity_of_groups(piece: Piece, row: int, columns: np.ndarray) -> np.ndarray:
    """Cosine of each group's mean visual token with the next group's, over some columns of a row."""
    column_S = torch.from_numpy(columns).to(piece.embeds_BTD.device)
    _, group_S = piece.layout.group_BT[row, column_S].unique(return_inverse=True)
    visual_S = piece.layout.visual_BT[row, column_S].float()
    shown_SD = piece.embeds_BTD[row, column_S].detach().float() * visual_S[:, None]
    groups = int(group_S.max()) + 1
    sum_GD = shown_SD.new_zeros(groups, shown_SD.shape[1]).index_add(0, group_S, shown_SD)
    return F.cosine_similarity(sum_GD[:-1], sum_GD[1:], dim=1).cpu().numpy().astype(np.float64)
