"""What the tokens of a step see where that is not everything before them: a rule, and never a mask over all.

A token sees every column from `since` up to its own, and of the columns before `since` only those that are
always seen (in Video-XL-2 text and timestamps). Columns are counted in the order of feeding, as
`Block.index_BNS` does. All of it is known on the host, so that no step synchronises with a device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vxl.llm.attention.continuation import attend_causal


@dataclass(frozen=True, eq=False)
class Sight:
    """Tokens that see alike."""

    tokens_Q: np.ndarray
    """Which tokens of the step, ascending."""
    since: int
    """The column from which on they see everything."""
    begin: int = 0
    """Nothing before this column is seen: where their document begins."""

    @property
    def together(self) -> bool:
        """Whether the tokens stand one after the other."""
        return int(self.tokens_Q[-1]) - int(self.tokens_Q[0]) + 1 == len(self.tokens_Q)


@dataclass(frozen=True, eq=False)
class Window:
    """What the tokens of one row see."""

    sights: tuple[Sight, ...]
    """Every token of the step is in one of them."""
    always_A: np.ndarray
    """Columns that are always seen, ascending, those of the step included."""

    def per_token(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """(since_T, begin_T) of a step of `tokens` tokens."""
        since_T, begin_T = np.zeros(tokens, np.int64), np.zeros(tokens, np.int64)
        for sight in self.sights:
            since_T[sight.tokens_Q], begin_T[sight.tokens_Q] = sight.since, sight.begin
        return since_T, begin_T


@dataclass(frozen=True, eq=False)
class Windows:
    """What the tokens of a step see."""

    rows: tuple[Window, ...]
    """A window for each row, or one for all of them."""
    first: int
    """Column of the step's first token."""

    def of(self, row: int) -> Window:
        """A row's window."""
        return self.rows[row if len(self.rows) > 1 else 0]


@dataclass(frozen=True, eq=False)
class Sliding:
    """What the tokens of a step see. For a cache that holds everything it was fed, where it came to stand."""

    window: int
    """Tokens that each one sees, its own included; the first text stands at this distance behind them."""
    first_B: tuple[int, ...]
    """Tokens of each row's first text, or one number for all rows."""

    def of(self, row: int) -> int:
        """Tokens of a row's first text."""
        return self.first_B[row if len(self.first_B) > 1 else 0]

    def pairs(self, row: int, before: int, tokens: int) -> int:
        """Pairs of a row's new token and a key that it sees, with so many tokens before them."""
        seen_T = torch.arange(before + 1, before + tokens + 1)
        far_T = (seen_T - self.window).clamp(min=0, max=self.of(row))
        return int((seen_T.clamp(max=self.window) + far_T).sum())


def pairs_within(window: Window, first: int, real_T: np.ndarray) -> int:
    """Pairs of a step's token and a key of the same step that it sees; of padding none.

    Args:
        window: Of the row.
        first: Column of the step's first token.
        real_T: Tokens that are no padding.
    """
    since_T, begin_T = window.per_token(len(real_T))
    begin_T = np.maximum(begin_T, first)
    since_T = np.maximum(since_T, begin_T)
    always_A = np.sort(window.always_A)
    before_T = np.searchsorted(always_A, since_T) - np.searchsorted(always_A, begin_T)
    seen_T = first + np.arange(len(real_T)) - since_T + 1 + before_T
    return int(seen_T[real_T].sum())


@dataclass(frozen=True, eq=False)
class Seen:
    """A sight in terms of the keys that are there."""

    tokens_Q: Tensor | None
    """The tokens; None = `[first, stop)`."""
    first: int
    stop: int
    places_S: Tensor | None
    """Which keys they see, ascending; None = all up to `keys`, or, by head, as `valid_1NS` says."""
    keys: int
    own_Q: Tensor | None
    """Where each token's own key stands among those; None = they are the last ones."""
    valid_1NS: Tensor | None = None


def seen_by(window: Window, columns_NS: Tensor, valid_1NS: Tensor | None, tokens: int) -> list[Seen]:
    """Finds each sight's keys.

    Args:
        window: Of the row.
        columns_NS: Column of every key, the step's own last; N is 1 where all heads agree.
        valid_1NS: Keys that exist; None = all.
        tokens: Tokens of the step.
    """
    device, total = columns_NS.device, columns_NS.shape[1]
    always = torch.zeros(int(columns_NS.max()) + 1, dtype=torch.bool)
    always[torch.from_numpy(window.always_A)] = True
    always_NS = always.to(device)[columns_NS]
    sights_of_row = []
    for sight in window.sights:
        first, stop = int(sight.tokens_Q[0]), int(sight.tokens_Q[-1]) + 1
        keys = total - tokens + stop
        columns = columns_NS[:, :keys]
        seen_NS = ((columns >= sight.since) | always_NS[:, :keys]) & (columns >= sight.begin)
        tokens_Q = None if sight.together else torch.from_numpy(sight.tokens_Q).to(device)
        own_Q = None if tokens_Q is None else tokens_Q + (total - tokens)
        if valid_1NS is not None or len(seen_NS) > 1:
            valid = seen_NS[None] if valid_1NS is None else valid_1NS[..., :keys] & seen_NS
            sights_of_row.append(Seen(tokens_Q, first, stop, None, keys, own_Q, valid))
        elif bool(seen_NS.all()):
            sights_of_row.append(Seen(tokens_Q, first, stop, None, keys, own_Q))
        else:
            places_S = seen_NS[0].nonzero()[:, 0]
            own_Q = None if own_Q is None else torch.searchsorted(places_S, own_Q)
            sights_of_row.append(Seen(tokens_Q, first, stop, places_S, len(places_S), own_Q))
    return sights_of_row


def attend_windows(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, sights: Sequence[Seen]
) -> Tensor:
    """Attention of tokens at the end of `key`, sight by sight.

    Args:
        query: [B, query heads, T, H].
        key: [B, N, S, H].
        value: [B, N, S, H].
        scaling: Factor on the scores.
        sights: Which keys each token sees.

    Returns:
        [B, query heads, T, H].
    """
    parts, tokens = [], []
    for sight in sights:
        if sight.places_S is None:
            k, v = key[:, :, : sight.keys], value[:, :, : sight.keys]
        else:
            k, v = key.index_select(2, sight.places_S), value.index_select(2, sight.places_S)
        if sight.tokens_Q is None:
            q = query[:, :, sight.first : sight.stop]
            tokens.append(torch.arange(sight.first, sight.stop, device=query.device))
        else:
            q = query.index_select(2, sight.tokens_Q)
            tokens.append(sight.tokens_Q)
        own = None if sight.own_Q is None else sight.keys
        part = attend_causal(q, k, v, scaling, column_Q=sight.own_Q, valid_BNS=sight.valid_1NS, tokens=own)
        parts.append(part)
    out = torch.cat(parts, dim=2)
    if len(parts) == 1:
        return out
    # Put in order by a permutation and not written in place: gradients flow through either, this copies once.
    return out.index_select(2, torch.cat(tokens).argsort())
