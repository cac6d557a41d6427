"""Chunks of a video in a cache, and what becomes of them at a question: whole, or means of runs of entries.

Letters: B rows · C chunks · G groups · S entries before · M entries after · P means of R entries each.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.llm.cache import Cache
from vxl.sequence.layout import Kind

SHOWN = "llm.chunks.shown"
"""Where a cache notes the video or image of every group that was watched, int64 [G], if a selector may have
dropped whole groups: chunks are those of the video, whatever a question keeps of it."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """Consecutive groups of one visual, `groups` at a time: how a cache's entries fall into chunks."""

    chunk_BS: Tensor
    """Chunk of each entry, int64; -1 at text."""
    visual_BS: Tensor
    """Which entries are visual tokens, or summary tokens that stand in for them."""
    group_BS: Tensor
    """Group of each entry, counted through all visuals; -1 at text."""
    valid_BS: Tensor
    """Entries that exist."""
    of_group_G: Tensor
    """Chunk of each group, int64."""
    ends_C: Tensor
    """Chunks that are a visual's first or last, bool."""
    groups: int
    """Groups of a chunk; a visual's last one may have fewer."""

    @property
    def count(self) -> int:
        """C."""
        return len(self.ends_C)


def chunks_of(cache: Cache, groups: int) -> Chunks:
    """Cuts what a cache has into chunks of `groups` groups. Chunks never span two visuals."""
    layouts, device = cache.layouts, cache.next_B.device
    assert sum(layout.shape[1] for layout in layouts) == cache.fed, "what was fed is not known"

    def columns(name: str) -> Tensor:
        parts = [getattr(layout, name).expand(cache.rows, -1) for layout in layouts]
        return torch.cat(parts, dim=1).to(device)

    index_BS, valid_BS = cache.index()[:, 0], cache.valid()[:, 0]
    kind_BS = columns("kind_BT").gather(1, index_BS)
    group_BT, item_BT = columns("group_BT").long(), columns("item_BT").long()
    item_G = cache.state.get(SHOWN)
    item_G = items_of_groups(group_BT, item_BT) if item_G is None else item_G.to(device)
    count = len(item_G)
    first_G = item_G != torch.cat((item_G.new_full((1,), -2), item_G[:-1]))
    number_G = torch.arange(count, device=device)
    start_G = torch.where(first_G, number_G, 0).cummax(dim=0).values
    begins_G = (number_G - start_G) % groups == 0
    of_group_G = begins_G.long().cumsum(0) - 1
    total = int(of_group_G[-1]) + 1 if count else 0
    last_G = torch.cat((first_G[1:], first_G.new_ones(min(1, count))))
    ends_C = torch.zeros(total, dtype=torch.bool, device=device)
    ends_C[of_group_G[first_G | last_G]] = True
    group_BS = group_BT.gather(1, index_BS)
    chunk_BS = torch.where(group_BS < 0, -1, of_group_G[group_BS.clamp(min=0)] if count else -1)
    visual_BS = ((kind_BS == Kind.VISUAL) | (kind_BS == Kind.BEACON)) & valid_BS
    return Chunks(chunk_BS, visual_BS, group_BS, valid_BS, of_group_G, ends_C, groups)


def items_of_groups(group_BT: Tensor, item_BT: Tensor) -> Tensor:
    """The video or image of every group, int64 [G]; rows show the same ones.

    Args:
        group_BT: Group of each position, counted through all visuals; -1 at text.
        item_BT: Its video or image.
    """
    count = int(group_BT.max()) + 1 if group_BT.numel() else 0
    item_G = torch.full((count + 1,), -1, device=group_BT.device)
    item_G = item_G.scatter_reduce(
        0, (group_BT.long() % (count + 1)).flatten(), item_BT.long().flatten(), "amax"
    )
    return item_G[:count].cummax(dim=0).values


def runs_of(chunks: "Chunks", pool: int) -> tuple[Tensor, Tensor]:
    """Entries that begin a run of `pool` visual tokens of one group, and entries that are pooled away or into
    one, bool [B, S]: all visual ones but those of groups that have fewer than `pool`."""
    visual_BS, group_BS = chunks.visual_BS, chunks.group_BS
    number_BS = visual_BS.long().cumsum(dim=1) - 1
    before_BS = torch.cat((torch.full_like(group_BS[:, :1], -1), group_BS[:, :-1]), dim=1)
    was_BS = torch.cat((torch.zeros_like(visual_BS[:, :1]), visual_BS[:, :-1]), dim=1)
    begins_BS = visual_BS & ((group_BS != before_BS) | ~was_BS)
    rank_BS = number_BS - torch.where(begins_BS, number_BS, 0).cummax(dim=1).values
    counts_BG = torch.zeros(
        len(group_BS), len(chunks.of_group_G) + 1, dtype=torch.int64, device=group_BS.device
    )
    column_BS = group_BS % counts_BG.shape[1]
    counts_BG = counts_BG.scatter_add(1, column_BS, visual_BS.long())
    counts_BS = counts_BG.gather(1, column_BS)
    whole_BS = rank_BS < counts_BS // pool * pool
    return visual_BS & whole_BS & (rank_BS % pool == 0), visual_BS & (counts_BS >= pool)


def saves(chunks: "Chunks", pool: int) -> Tensor:
    """How many entries shorter each chunk gets when it is pooled, int64 [B, C]."""
    begins_BS, pooled_BS = runs_of(chunks, pool)
    fewer_BS = pooled_BS.long() - begins_BS.long()
    saved_BC = fewer_BS.new_zeros(len(fewer_BS), chunks.count + 1)
    return saved_BC.scatter_add(1, chunks.chunk_BS % (chunks.count + 1), fewer_BS)[:, : chunks.count]


def two_levels(cache: Cache, chunks: "Chunks", dense_BC: Tensor, pool: int, *, compact: bool) -> None:
    """Replaces the visual entries of chunks that are not dense by means over runs of `pool`."""
    rows, entries = chunks.chunk_BS.shape
    dense_BS = (chunks.chunk_BS < 0) | dense_BC.gather(1, chunks.chunk_BS.clamp(min=0))
    begins_BS, pooled_BS = runs_of(chunks, pool)
    mean_BS = begins_BS & ~dense_BS
    stays_BS = (chunks.valid_BS & (dense_BS | ~pooled_BS)) | mean_BS
    # Means of every chunk that any row pools, made once where the rows share what was watched.
    one_row = all(block.rows == 1 for block in cache.layers[0])
    wanted_BS = mean_BS.any(dim=0, keepdim=True) if one_row else mean_BS
    first_BP, _ = columns_where(wanted_BS)
    members_BPR = first_BP[..., None] + torch.arange(pool, device=first_BP.device)
    members_BPR = members_BPR.clamp(max=entries - 1)  # of padding only
    number_BS = (wanted_BS.long().cumsum(dim=1) - 1 + entries).expand(rows, -1)
    if one_row and bool((stays_BS == stays_BS[:1]).all() & (mean_BS == mean_BS[:1]).all()):
        mean_BS, stays_BS, number_BS = mean_BS[:1], stays_BS[:1], number_BS[:1]  # one row for all
    order_BM, valid_BM = columns_where(stays_BS)
    ids_BS = torch.where(mean_BS, number_BS, torch.arange(entries, device=mean_BS.device))
    if compact:
        cache.next_B = stays_BS.sum(dim=1).expand(rows).clone()
        positions_BM = torch.arange(order_BM.shape[1], device=order_BM.device).expand_as(order_BM)
    else:
        positions_BS = cache.positions()[: len(mean_BS), 0]
        middle_BS = positions_BS + (pool - 1) // 2
        positions_BM = torch.where(mean_BS, middle_BS, positions_BS).gather(1, order_BM)
    cache.merge(members_BPR, ids_BS.gather(1, order_BM), positions_BM, valid_BM)


def columns_where(mask_BS: Tensor) -> tuple[Tensor, Tensor | None]:
    """(columns [B, M] where a mask is true, in order; which of them exist: None = all)."""
    counts_B = mask_BS.sum(dim=1)
    least, most = int(counts_B.min()), int(counts_B.max())
    order_BM = (~mask_BS).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    return order_BM, None if least == most else mask_BS.gather(1, order_BM)
