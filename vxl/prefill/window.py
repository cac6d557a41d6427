"""A sliding window beside the first text, for policies that want one while they watch (`Policy.local`)."""

from typing import NamedTuple

from vxl.llm.attention.windows import Sliding
from vxl.llm.cache import Cache
from vxl.prefill.pieces import real_tokens
from vxl.sequence.layout import Kind
from vxl.sequence.piece import Piece

STATE = "prefill.window"
"""Where a cache notes its rows' first text."""


class FirstText(NamedTuple):
    """How much text stands in front of everything else; replaced and never changed, since forks share it."""

    tokens: int = 0
    ended: bool = False
    """Whether something else has come."""


def sliding_window(window: int, cache: Cache, piece: Piece) -> Sliding | None:
    """What the tokens of the next piece see; None while everything that comes is in the window."""
    rows, tokens = piece.layout.shape
    earlier: tuple[FirstText, ...] = cache.state.get(STATE, (FirstText(),))
    earlier = earlier * (rows // len(earlier))
    if not all(first.ended for first in earlier):
        real_BT = real_tokens(piece).cpu()
        text_BT = (piece.on_host.kind_BT == Kind.TEXT) & real_BT
        new = (text_BT.long().cumprod(dim=1).sum(dim=1).tolist(), real_BT.sum(dim=1).tolist())
        earlier = tuple(
            old if old.ended else FirstText(old.tokens + text, text < real)
            for old, text, real in zip(earlier, *new, strict=True)
        )
        cache.state[STATE] = earlier
    if cache.fed + tokens <= window:
        return None
    return Sliding(window, tuple(first.tokens for first in earlier))
