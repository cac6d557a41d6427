"""Watching with a pruner: pieces go on as soon as it is known what stays of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.prune.base import Pruner, Pruning, VideoTokens
from vxl.prune.rows import lost_time
from vxl.sequence.layout import Layout
from vxl.sequence.rows import Rows, gather


@dataclass(frozen=True, eq=False)
class PrunedPiece:
    """Columns [start, stop) of a head with their visual tokens, and which of them stay."""

    start: int
    stop: int
    groups: int
    visual_GKD: Tensor | None
    """None for text."""
    kept_GK: Tensor | None = None
    """None where all stay."""


def prune_pieces(
    pruner: Pruner, groups: int, pieces: Iterable[tuple[int, int, VideoTokens]]
) -> Iterator[PrunedPiece]:
    """The pieces of one video with what stays of them: at once where the pruner streams, else after the last.

    Args:
        pruner: What drops or merges.
        groups: Groups of the whole video.
        pieces: (start, stop, tokens) of whole groups, in order.
    """
    pruning: Pruning = pruner.begin(groups)
    waiting: list[tuple[int, int, int]] = []
    for start, stop, tokens in pieces:
        waiting.append((start, stop, len(tokens)))
        pruned = pruning.feed(tokens)
        if pruned is None:
            continue
        first = 0
        for begin, end, count in waiting:
            of_piece = slice(first, first + count)
            yield PrunedPiece(begin, end, count, pruned.visual_GKD[of_piece], pruned.kept_GK[of_piece])
            first += count
        waiting = []


def without_dropped(
    pruner: Pruner, embeds_1TD: Tensor, layout: Layout, kept_GK: Tensor
) -> tuple[Tensor, Layout]:
    """A piece's embeddings and layout without what was dropped; the result may be empty."""
    kept_1T = torch.ones_like(layout.visual_BT).masked_scatter(layout.visual_BT, kept_GK)
    kept_1T &= ~lost_time(pruner, layout, kept_1T)
    nothing_1T = torch.zeros_like(layout.kind_BT, dtype=torch.int64)
    rows = gather(Rows(embeds_1TD, nothing_1T, nothing_1T, layout), kept_1T)
    return rows.embeds_BTD, rows.layout
