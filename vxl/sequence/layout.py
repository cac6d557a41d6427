"""What stands at every position of a batch: kind, group, item, document, time.

Prefill masks, cache policies, labels, the splice of visual tokens and packing all read it, so that
token ids are searched once.
"""

from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor


class Kind(IntEnum):
    """What a position holds."""

    TEXT = 0
    """Text of the conversation, and padding (`document_BT` tells which)."""
    TIME = 1
    """The time text in front of a group's visual tokens."""
    VISUAL = 2
    """A visual token."""
    BEACON = 3
    """A learned token that stands in for the visual tokens before it: `kv=vst` inserts it, no data has it."""


@dataclass(frozen=True)
class Layout:
    """One entry for each position of a batch of rows.

    Attributes:
        kind_BT: uint8, a Kind.
        group_BT: int32, the group of a TIME or VISUAL position, counted through the row over all its videos
            and images; -1 at text.
        item_BT: int32, the video or image of a TIME or VISUAL position, counted through the row; -1 at text.
        document_BT: int32, which of a row's packed samples (0, 1, ...); -1 at padding. Samples never attend
            to each other.
        seconds_BT: float32, the timestamp of the group's first frame at TIME and VISUAL positions; -1 at
            text.
        question_BT: bool, text of the user's turns (without their header) and of the headers of the answers
            to them: what a question is known by when the visuals have been watched.
    """

    kind_BT: Tensor
    group_BT: Tensor
    item_BT: Tensor
    document_BT: Tensor
    seconds_BT: Tensor
    question_BT: Tensor

    @property
    def visual_BT(self) -> Tensor:
        """bool: where the visual tokens go, in row-major order."""
        return self.kind_BT == Kind.VISUAL

    @property
    def real_BT(self) -> Tensor:
        """bool: everything but padding."""
        return self.document_BT >= 0

    @property
    def shape(self) -> torch.Size:
        """(B, T)."""
        return self.kind_BT.shape

    def slice(self, start: int, stop: int) -> "Layout":
        """Positions [start, stop) of every row."""
        return Layout(*(getattr(self, field.name)[:, start:stop] for field in fields(self)))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Layout":
        """A copy on a device."""
        tensors = (getattr(self, field.name).to(device, non_blocking=non_blocking) for field in fields(self))
        return Layout(*tensors)

    def pin_memory(self) -> "Layout":
        """A copy in page-locked memory."""
        return Layout(*(getattr(self, field.name).pin_memory() for field in fields(self)))

    @classmethod
    def text(cls, rows: int, tokens: int, device: torch.device | str = "cpu") -> "Layout":
        """The layout of `rows` x `tokens` positions of text, all of one document."""
        none_BT = torch.full((rows, tokens), -1, dtype=torch.int32, device=device)
        return cls(
            kind_BT=torch.zeros(rows, tokens, dtype=torch.uint8, device=device),
            group_BT=none_BT,
            item_BT=none_BT.clone(),
            document_BT=torch.zeros_like(none_BT),
            seconds_BT=none_BT.float(),
            question_BT=torch.zeros_like(none_BT, dtype=torch.bool),
        )


def causal_pairs(document_BT: Tensor) -> int:
    """Pairs of a token and a key that it sees, where each sees its own document up to itself.

    Args:
        document_BT: The document of each place; below 0 at padding.
    """
    pairs = 0
    for document_T in document_BT:
        lengths = torch.bincount(document_T[document_T >= 0].long())
        pairs += int((lengths * (lengths + 1) // 2).sum())
    return pairs
