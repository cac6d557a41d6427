"""Chunks of groups see themselves, a few chunks before, and all text and timestamps (Video-XL-2).

arXiv 2506.19225, "chunk-based prefilling": the time text of every group carries what its chunk saw to
chunks that no longer see the chunk itself. A chunk is one pass of the model over the part of the cache
that it may see, so no mask over the whole video exists, and memory grows with the cache alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from vxl.data.layout import Kind
from vxl.errors import ConfigError
from vxl.kv.policy import Policy
from vxl.llm.step import Span, View, documents, runs
from vxl.prefill.base import Piece, Prefill, PrefillConfig

if TYPE_CHECKING:
    from vxl.data.layout import Layout
    from vxl.llm.cache import Cache
    from vxl.llm.decoder import Decoder

STATE = "prefill.chunked"
"""Where a cache notes the chunk of every column that was fed."""

ALWAYS = torch.iinfo(torch.int32).max
"""The chunk of columns that everything behind them sees: text and time text."""


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

    def __post_init__(self) -> None:
        """A chunk has groups, and none may be missing before it."""
        super().__post_init__()
        if self.groups_per_chunk < 1 or self.previous_chunks < 0:
            raise ConfigError(
                f"groups_per_chunk={self.groups_per_chunk} previous_chunks={self.previous_chunks} "
                "is no chunk.\n"
                "  allowed: 1 or more groups a chunk, 0 or more chunks before"
            )


@dataclass(frozen=True)
class Progress:
    """What a cache has been fed; replaced and never changed, since forks share it."""

    chunk_T: Tensor
    """For every column the chunk that it is visible from, int32; ALWAYS for text and time text."""
    item: int = -1
    """The video or image that came last."""
    first_group: int = 0
    """Its first group."""
    first_chunk: int = 0
    """Its first chunk: chunks are counted through all videos and images, and none spans two."""


class Chunked(Prefill):
    """Runs a sequence chunk by chunk; in training too, with gradients through the cache."""

    def __init__(self, config: ChunkedConfig) -> None:
        super().__init__(config)
        self.groups_per_chunk = config.groups_per_chunk
        self.previous = config.previous_chunks
        self.time_sees_all = config.time_rows == "all"

    def forward(
        self, llm: "Decoder", policy: "Policy", embeds_BTD: Tensor, positions_BT: Tensor, layout: "Layout"
    ) -> Tensor:
        """See `Prefill.forward`; document by document."""
        spans = documents(layout.document_BT)
        if spans is None:
            lengths = layout.real_BT.sum(dim=1).tolist()
            spans = tuple(Span(row, 0, length) for row, length in enumerate(lengths))
        rows: list[list[Tensor]] = [[] for _ in embeds_BTD]
        for span, real in runs(spans, *layout.shape):
            part_1TD = embeds_BTD[span.row, None, span.start : span.stop]
            if real:
                cache, keep_all = llm.new_cache(), Policy(policy.config)
                part_1TD = self.feed(llm, keep_all, cache, Piece(part_1TD, cut(layout, span)))
            rows[span.row].append(part_1TD)
        return torch.cat([torch.cat(parts, dim=1) for parts in rows])

    def feed(self, llm: "Decoder", policy: "Policy", cache: "Cache", piece: Piece) -> Tensor:
        """See `Prefill.feed`; a piece may hold several chunks or begin inside one."""
        hidden = []
        for start, stop, chunk in self.chunks(cache, piece.layout):
            valid_BT = None if piece.valid_BT is None else piece.valid_BT[:, start:stop]
            part = Piece(piece.embeds_BTD[:, start:stop], piece.layout.slice(start, stop), valid_BT)
            part = policy.before_chunk(cache, part)
            hidden.append(
                llm.extend(
                    part.embeds_BTD,
                    cache,
                    valid_BT=part.valid_BT,
                    layout=part.layout,
                    views=None if chunk is None else self.views(cache, part.layout, chunk),
                )
            )
            policy.after_chunk(cache, part)
        return torch.cat(hidden, dim=1)

    def chunks(self, cache: "Cache", layout: "Layout") -> Iterator[tuple[int, int, int | None]]:
        """Cuts columns into texts and chunks, and notes them in the cache: (start, stop, chunk or None)."""
        same = all(bool((tensor == tensor[:1]).all()) for tensor in (layout.group_BT, layout.item_BT))
        assert same, "rows with different layouts are fed one by one"
        kinds, groups, items = (x[0].tolist() for x in (layout.kind_BT, layout.group_BT, layout.item_BT))
        empty = torch.empty(0, dtype=torch.int32, device=layout.kind_BT.device)
        progress: Progress = cache.state.get(STATE, Progress(empty))
        numbers: list[int | None] = []
        for group, item in zip(groups, items, strict=True):
            if item >= 0 and item != progress.item:
                seen = progress.chunk_T[progress.chunk_T != ALWAYS].tolist()
                last = max([-1, *seen, *(number for number in numbers if number is not None)])
                progress = replace(progress, item=item, first_group=group, first_chunk=last + 1)
            within = (group - progress.first_group) // self.groups_per_chunk
            numbers.append(None if item < 0 else progress.first_chunk + within)
        start = 0
        for number, run in groupby(numbers):
            stop = start + len(list(run))
            seen = [number if kind == Kind.VISUAL else ALWAYS for kind in kinds[start:stop]]
            yield start, stop, number
            chunk_T = torch.tensor(seen, dtype=torch.int32, device=empty.device)
            progress = replace(progress, chunk_T=torch.cat((progress.chunk_T, chunk_T)))
            cache.state[STATE] = progress
            start = stop

    def views(self, cache: "Cache", layout: "Layout", chunk: int) -> tuple[View, ...] | None:
        """What a chunk's tokens see of the cache; None = all of it."""
        progress: Progress | None = cache.state.get(STATE)
        if progress is None or not cache.entries():
            return None
        index_S = cache.index()[0, 0]
        visible_S = progress.chunk_T[index_S] >= chunk - self.previous
        if bool(visible_S.all()):
            return None
        window = View(None, visible_S.nonzero()[:, 0])
        time_Q = (layout.kind_BT[0] == Kind.TIME).nonzero()[:, 0]
        return (window, View(time_Q, None)) if self.time_sees_all and len(time_Q) else (window,)


def cut(layout: "Layout", span: Span) -> "Layout":
    """The layout of a span."""
    row = slice(span.row, span.row + 1)
    return replace(layout, **{name: tensor[row] for name, tensor in vars(layout).items()}).slice(
        span.start, span.stop
    )
