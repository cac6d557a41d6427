"""Chunks of groups see themselves, a few chunks before, and all text and timestamps (Video-XL-2).

arXiv 2506.19225, "chunk-based prefilling": the time text of every group carries what its chunk saw to
chunks that no longer see the chunk itself. Several chunks go through the linear layers together, while each
attends to the keys that it may see; no mask over the whole video exists, and memory grows with the cache
alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import Policy
from vxl.llm.attention.step import Span, documents, runs
from vxl.llm.attention.windows import Sight, Window, Windows, pairs_within
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.llm.kernels import usable
from vxl.llm.turns import Turn, extend_in_turns, fed_with
from vxl.prefill.base import Hidden, Prefill, PrefillConfig
from vxl.prefill.pieces import real_tokens, tokens_where
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

STATE = "prefill.chunked"
"""Where a cache notes what its rows have been fed."""


@dataclass(frozen=True, kw_only=True)
class ChunkedConfig(PrefillConfig):
    """Chunks of groups see themselves, some chunks before, and all text and timestamps."""

    _target_: str = "vxl.prefill.chunked.Chunked"
    groups_per_chunk: int = 4
    """Groups of a chunk."""
    previous_chunks: int = 3
    """Chunks before its own that a chunk sees in full."""
    time_rows: Literal["all", "window"] = "all"
    """What time text sees of the past: everything (`all`, as the published scores were made), or what the
    visual tokens of its chunk see (`window`, the streaming form)."""
    chunks_per_pass: int = 16
    """Chunks that go through the linear layers together: more are faster and need more memory. No number
    depends on it; a policy that acts in the prefill gets its chunks one by one."""

    def __post_init__(self) -> None:
        """A chunk has groups, and none may be missing before it."""
        super().__post_init__()
        if self.groups_per_chunk < 1 or self.previous_chunks < 0:
            raise ConfigError(
                f"groups_per_chunk={self.groups_per_chunk} previous_chunks={self.previous_chunks} "
                "is no chunk.\n"
                "  allowed: 1 or more groups a chunk, 0 or more chunks before"
            )
        if self.chunks_per_pass < 1:
            raise ConfigError(
                f"chunks_per_pass={self.chunks_per_pass} runs nothing.\n  allowed: 1 or more chunks a pass"
            )


@dataclass(frozen=True, eq=False)
class ChunkProgress:
    """What a row has been fed; replaced and never changed, since forks share it."""

    always_A: np.ndarray
    """Columns that everything behind them sees, ascending: text and time text."""
    starts_C: np.ndarray
    """Each chunk's first column. Chunks are counted through all videos and images, and none spans two."""
    item: int = -1
    """The video or image that came last."""
    first_group: int = 0
    """Its first group."""
    chunk: int = -1
    """Its chunk that came last, counted in the item."""


NOTHING = ChunkProgress(np.empty(0, np.int64), np.empty(0, np.int64))


class Chunked(Prefill):
    """Runs a sequence in passes of several chunks; in training too."""

    config: ChunkedConfig

    def __init__(self, config: ChunkedConfig) -> None:
        super().__init__(config)

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
        """See `Prefill.forward`; all rows and documents in one pass."""
        host = layout.to("cpu")
        rows, tokens = host.shape
        spans = documents(host.document_BT) or tuple(Span(row, 0, tokens) for row in range(rows))
        windows_of_rows: list[list[Window]] = [[] for _ in range(rows)]
        for span, _ in runs(spans, rows, tokens):
            part = host.slice(span.start, span.stop)
            windows_of_rows[span.row].append(self.look(NOTHING, part, span.row, span.start, document=True)[0])
        windows = tuple(
            Window(
                tuple(sight for part in parts for sight in part.sights),
                np.concatenate([part.always_A for part in parts]),
            )
            for parts in windows_of_rows
        )
        reals = host.real_BT.numpy()
        pairs = sum(pairs_within(window, 0, real_T) for window, real_T in zip(windows, reals, strict=True))
        hidden_BTD = llm(embeds_BTD, llm.step(positions_BT, windows=Windows(windows, 0)))
        return Hidden(hidden_BTD, {}, pairs=pairs)

    def feed(self, llm: Decoder, policy: Policy, cache: Cache, piece: Piece) -> Tensor:
        """See `Prefill.feed`; a piece may hold several chunks or begin inside one."""
        if policy.acts_in_prefill and len(self.progress(cache, piece)) > 1:
            return self.feed_row_by_row(llm, policy, cache, piece)
        if policy.acts_in_turns and piece.valid_BT is None and usable(piece.embeds_BTD) and cache.rows == 1:
            return self.feed_in_turns(llm, policy, cache, piece)
        parts = [piece.part(start, stop) for start, stop in self.passes(policy, cache, piece)]
        outputs = [self.run(llm, policy, cache, part) for part in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def run(self, llm: Decoder, policy: Policy, cache: Cache, part: Piece) -> Tensor:
        """One pass; hidden_BTD of its tokens."""
        part = policy.before_chunk(cache, part)
        looks = [
            self.look(progress, part.on_host, row, cache.fed)
            for row, progress in enumerate(self.progress(cache, part))
        ]
        hidden_BTD = llm.extend(
            part.embeds_BTD,
            cache,
            valid_BT=part.valid_BT,
            layout=part.layout,
            windows=Windows(tuple(window for window, _ in looks), cache.fed),
            observe=policy.observe_chunks,
        )
        cache.state[STATE] = tuple(progress for _, progress in looks)
        policy.after_chunk(cache, part)
        policy.hold(cache)
        return hidden_BTD

    def feed_in_turns(self, llm: Decoder, policy: Policy, cache: Cache, piece: Piece) -> Tensor:
        """Runs a row's chunks in passes of several, where the policy acts layer by layer (vxl.llm.turns)."""
        bounds = list(self.passes(policy, cache, piece))
        outputs = []
        for number in range(0, len(bounds), self.config.chunks_per_pass):
            here = bounds[number : number + self.config.chunks_per_pass]
            part, turns, last = piece.part(here[0][0], here[-1][1]), [], cache
            for start, stop in here:
                own = piece.part(start, stop)
                window, progress = self.look(self.progress(last, own)[0], own.on_host, 0, last.fed)
                windows, last = Windows((window,), last.fed), fed_with(last, own.layout)
                last.state[STATE] = (progress,)
                policy.noted(last, own)
                turns.append(Turn(start - here[0][0], stop - here[0][0], windows, last))
            observe = policy.observe_chunks
            outputs.append(extend_in_turns(llm, part.embeds_BTD, cache, turns, policy.act_on, observe))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def feed_row_by_row(self, llm: Decoder, policy: Policy, cache: Cache, piece: Piece) -> Tensor:
        """Runs rows whose chunks end at different columns: each pass holds the next text or chunk of every
        row, so that the policy acts after whole chunks of each row, as it does where the row is alone."""
        real_BT = real_tokens(piece).cpu()
        lengths = real_BT.sum(dim=1).tolist()
        bounds = []
        for row, progress in enumerate(self.progress(cache, piece)):
            cuts = [place for place in self.cuts(progress, piece, row) if place < lengths[row]]
            bounds.append([*cuts, lengths[row]])
        hidden_BTD = torch.empty(0)
        for number in range(max(map(len, bounds)) - 1):
            inside_BT = torch.zeros_like(real_BT)
            for row, cuts in enumerate(bounds):
                if number + 1 < len(cuts):
                    inside_BT[row, cuts[number] : cuts[number + 1]] = True
            part = tokens_where(piece, inside_BT)
            hidden_BLD = self.run(llm, policy, cache, part)
            if not number:
                hidden_BTD = hidden_BLD.new_zeros(*real_BT.shape, hidden_BLD.shape[2])
            hidden_BTD[inside_BT.to(hidden_BTD.device)] = hidden_BLD[real_tokens(part)]
        return hidden_BTD

    def passes(self, policy: Policy, cache: Cache, piece: Piece) -> Iterator[tuple[int, int]]:
        """Cuts a piece into passes of whole texts and chunks (of any row): (start, stop)."""
        tokens = piece.embeds_BTD.shape[1]
        cuts: set[int] = set()
        for row, progress in enumerate(self.progress(cache, piece)):
            cuts |= set(self.cuts(progress, piece, row))
        starts = sorted(cuts)[:: 1 if policy.acts_in_prefill else self.config.chunks_per_pass]
        yield from zip(starts, [*starts[1:], tokens], strict=True)

    def cuts(self, progress: ChunkProgress, piece: Piece, row: int) -> list[int]:
        """Columns at which a row's texts and chunks begin, ascending from 0."""
        chunk_T = self.chunks(progress, piece.on_host, row)[0]
        return [0, *(np.flatnonzero(np.diff(chunk_T)) + 1).tolist()]

    def progress(self, cache: Cache, piece: Piece) -> Sequence[ChunkProgress]:
        """Of every row, or one for all of them while they are fed alike."""
        earlier: tuple[ChunkProgress, ...] = cache.state.get(STATE, (NOTHING,))
        if len(earlier) > 1 or alike(piece.on_host):
            return earlier
        return earlier * len(piece.embeds_BTD)

    def chunks(self, progress: ChunkProgress, layout: Layout, row: int) -> tuple[np.ndarray, ChunkProgress]:
        """Each column's chunk, counted through everything that the row was fed, -1 at text; and the progress,
        with the new chunks' starts counted from the first of these columns."""
        item_T, group_T = layout.item_BT[row].numpy(), layout.group_BT[row].numpy()
        chunk_T = np.full(len(item_T), -1, np.int64)
        starts: list[int] = []
        item, first_group, chunk = progress.item, progress.first_group, progress.chunk
        shown_S = np.flatnonzero(item_T >= 0)
        cuts_S = np.flatnonzero(np.diff(item_T[shown_S]) | np.diff(group_T[shown_S])) + 1
        for columns in np.split(shown_S, cuts_S) if len(shown_S) else ():  # group by group
            own_item, group = int(item_T[columns[0]]), int(group_T[columns[0]])
            if own_item != item:
                item, first_group, chunk = own_item, group, -1
            within = (group - first_group) // self.config.groups_per_chunk
            if within != chunk:
                chunk = within
                starts.append(int(columns[0]))
            chunk_T[columns] = len(progress.starts_C) + len(starts) - 1
        starts_C = np.concatenate([progress.starts_C, np.array(starts, np.int64)])
        return chunk_T, ChunkProgress(progress.always_A, starts_C, item, first_group, chunk)

    def look(
        self, progress: ChunkProgress, layout: Layout, row: int, first: int, document: bool = False
    ) -> tuple[Window, ChunkProgress]:
        """What a row's new columns see, and the progress when they are in.

        Args:
            progress: Of the row.
            layout: Of the new columns, in the host's memory.
            row: Which of its rows.
            first: The first new column, counted as the cache does.
            document: Whether the columns are a whole document of a row that is one step.
        """
        chunks_before = len(progress.starts_C)
        chunk_T, after = self.chunks(progress, layout, row)
        starts_C = after.starts_C.copy()
        starts_C[chunks_before:] += first
        kind_T = layout.kind_BT[row].numpy()
        always_A = np.concatenate([progress.always_A, first + np.flatnonzero(kind_T != Kind.VISUAL)])
        window_T = chunk_T - self.config.previous_chunks
        if self.config.time_rows == "all":
            window_T[kind_T == Kind.TIME] = -1
        begin, shift = (first, first) if document else (0, 0)
        since_T = np.where(window_T > 0, starts_C[np.maximum(window_T, 0)] if len(starts_C) else 0, begin)
        order_T = np.argsort(since_T, kind="stable")
        cuts = np.flatnonzero(np.diff(since_T[order_T])) + 1
        sights = tuple(
            Sight(tokens_Q + shift, int(since_T[tokens_Q[0]]), begin) for tokens_Q in np.split(order_T, cuts)
        )
        return Window(sights, always_A), ChunkProgress(
            always_A, starts_C, after.item, after.first_group, after.chunk
        )


def alike(layout: Layout) -> bool:
    """Whether all rows are of one layout."""
    same = (layout.kind_BT, layout.group_BT, layout.item_BT)
    return all(bool((tensor == tensor[:1]).all()) for tensor in same)
