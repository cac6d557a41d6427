"""What was fed into a cache, column by column, whether or not it is still held."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vxl.llm.cache import Cache
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

REAL = "kv.scored.real"
"""Where a cache notes which of its columns were tokens and not padding, bool [B, F]."""
COLUMNS = "kv.scored.columns"
"""Where a cache has its columns at hand (`Cache.scratch`), so that they need not be put together anew."""


@dataclass(frozen=True, eq=False)
class Columns:
    """One entry for each column that was fed: [B, F]."""

    kind_BF: Tensor
    """A Kind; text where the feeder said nothing (the tokens of an answer)."""
    group_BF: Tensor
    """Group of a time or visual token, counted through the row, int64; -1 at text."""
    real_BF: Tensor
    """Tokens, bool; the others are padding."""
    host: "Columns | None" = None
    """The same in the host's memory, where it is there."""

    @cached_property
    def on_host(self) -> "Columns":
        """The same in the host's memory: reading it need not wait for a device."""
        if not self.real_BF.is_cuda:
            return self
        return self.host or Columns(self.kind_BF.cpu(), self.group_BF.cpu(), self.real_BF.cpu())

    @cached_property
    def visual_BF(self) -> Tensor:
        """Which columns are visual tokens."""
        return (self.kind_BF == Kind.VISUAL) & self.real_BF

    @cached_property
    def rank_BF(self) -> Tensor:
        """Rank of each token among all that its row was fed, int64; at padding anything."""
        return self.real_BF.long().cumsum(dim=1) - 1

    @cached_property
    def ordinal_BF(self) -> Tensor:
        """Rank of each visual token among all visual ones that its row was fed, int64; elsewhere anything."""
        return self.visual_BF.long().cumsum(dim=1) - 1

    @cached_property
    def place_BF(self) -> Tensor:
        """Rank of each visual token among those of its group, int64; elsewhere anything."""
        return self.ordinal_BF - self._first_BG.gather(1, self.group_BF.clamp(min=0))

    @cached_property
    def sizes_BG(self) -> Tensor:
        """How many visual tokens each group had, int64."""
        groups = self._first_BG.shape[1]
        counts_BG = torch.zeros_like(self._first_BG)
        return counts_BG.scatter_add(1, self.group_BF.clamp(min=0) % groups, self.visual_BF.long())

    @cached_property
    def last_group_B(self) -> Tensor:
        """The newest group that each row has visual tokens of; -1 where it has none."""
        return self.group_BF.masked_fill(~self.visual_BF, -1).amax(dim=1)

    @cached_property
    def _first_BG(self) -> Tensor:
        groups = max(1, int(self.on_host.group_BF.max()) + 1) if self.group_BF.numel() else 1
        rows, columns = self.group_BF.shape
        first_BG = self.group_BF.new_full((rows, groups + 1), columns)
        column_BF = torch.where(self.visual_BF, self.group_BF, groups)
        return first_BG.scatter_reduce(1, column_BF, self.ordinal_BF, "amin")[:, :groups]


def note_real(cache: Cache, piece: Piece) -> None:
    """Notes which columns of a piece that has just been fed are tokens, and what the piece is."""
    rows, tokens = cache.rows, piece.layout.shape[1]
    real_BT = piece.valid_BT
    if real_BT is None:
        real_BT = torch.ones(rows, tokens, dtype=torch.bool, device=cache.next_B.device)
    known_BF = cache.state.get(REAL)
    if known_BF is not None:
        real_BT = torch.cat((known_BF.expand(rows, -1), real_BT), dim=1)
    cache.state[REAL] = real_BT
    earlier = cache.scratch.get(COLUMNS)
    before = 0 if earlier is None else earlier.kind_BF.shape[1]
    if before + tokens == cache.fed and piece.host is not None and piece.valid_BT is None:
        cache.scratch[COLUMNS] = behind(
            earlier,
            piece.layout,
            real_BT,
            behind(
                None if earlier is None else earlier.on_host,
                piece.host,
                torch.ones(rows, cache.fed, dtype=torch.bool),
            )
            if real_BT.is_cuda
            else None,
        )


def behind(earlier: Columns | None, layout: Layout, real_BF: Tensor, host: Columns | None = None) -> Columns:
    """Columns with those of one more layout behind them."""
    rows = len(real_BF)
    kind_BT, group_BT = (x.expand(rows, -1).long() for x in (layout.kind_BT, layout.group_BT))
    if earlier is not None:
        kind_BT = torch.cat((earlier.kind_BF.expand(rows, -1), kind_BT), dim=1)
        group_BT = torch.cat((earlier.group_BF.expand(rows, -1), group_BT), dim=1)
    return Columns(kind_BT, group_BT, real_BF, host)


def columns_of(cache: Cache) -> Columns:
    """Everything that a cache was fed.

    What was noted while it was watched counts; later columns (a question and its answer) are all held, so the
    cache itself says which of them exist. So does a context that was watched with a policy that keeps all.
    """
    rows, fed, device = cache.rows, cache.fed, cache.next_B.device
    columns = cache.scratch.get(COLUMNS)
    if columns is not None and columns.kind_BF.shape == (rows, fed):
        return columns

    def column(name: str, rest: int) -> Tensor:
        parts = [getattr(layout, name).to(device).expand(rows, -1) for layout in cache.layouts]
        described = sum(part.shape[1] for part in parts)
        assert described <= fed, "more was described than fed"
        return torch.cat([*parts, torch.full((rows, fed - described), rest, device=device)], dim=1).long()

    known_BF = cache.state.get(REAL)
    noted = 0 if known_BF is None else known_BF.shape[1]
    real_BF = torch.zeros(rows, fed, dtype=torch.bool, device=device)
    if noted < fed:
        for head in range(cache.valid().shape[1]):
            index_BS = cache.index()[:, min(head, cache.index().shape[1] - 1)]
            held_BF = torch.zeros(rows, fed + 1, dtype=torch.bool, device=device)
            column_BS = torch.where(cache.valid()[:, head], index_BS, fed)
            real_BF |= held_BF.scatter(1, column_BS, torch.ones_like(column_BS, dtype=torch.bool))[:, :fed]
    if known_BF is not None:
        real_BF[:, :noted] = known_BF
    return Columns(column("kind_BT", Kind.TEXT), column("group_BT", -1), real_BF)
