"""From examples to a batch: rows padded on the right, documents numbered, all frames in one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.data.sample import BadSample, Question
from vxl.sequence.layout import Layout
from vxl.sequence.rows import IGNORE

__all__ = ["Batch", "BatchedVisual", "Example", "collate", "joined_frames"]


@dataclass(frozen=True)
class Example:
    """One sample, tokenised and decoded."""

    encoded: Encoded
    frames_FCHW: Tensor
    """uint8, all its visuals one after the other; each a whole number of groups (its last frame repeated). On
    the card where `video.device` is."""
    key: str = ""
    question: Question | None = None
    letters: tuple[int, ...] = ()
    """Token ids of the question's option letters."""
    bad: BadSample | None = None
    """Why it is masked."""
    padding: bool = False
    """Whether it only fills up the last batches of a fixed list, so that all ranks have as many."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch. B rows of T tokens; a row is one sample, or several packed."""

    tokens_BT: Tensor
    """int64; `<|vision_pad|>` at visual positions, the padding token behind the last document."""
    labels_BT: Tensor
    """int64, not shifted; -100 where nothing is supervised, and at every document's first token."""
    positions_BT: Tensor
    """int64, from 0 in every document; 0 at padding."""
    layout: Layout
    frames_FCHW: Tensor
    """uint8, the frames of all `items` in order."""
    items: list[BatchedVisual]
    """The visuals of all rows, row after row, in order of appearance."""
    supervised: int
    """Tokens with a label: what the loss is divided by, summed over the global batch."""
    visual_tokens: int
    """Positions of the kind VISUAL."""
    answer_at_Q: Tensor
    """int64: for each question, which of the batch's supervised tokens (row after row) is its letter."""
    letters_Q: list[list[int]]
    """Token ids of each question's option letters: A, B, C, ..."""
    answer_Q: list[int]
    """Index of each question's right option."""
    keys_Q: list[str]
    """Each question's key."""
    keys: list[str]
    """Keys of all samples, row after row; those of padding left out."""
    bad: list[BadSample] = field(default_factory=list)
    """Samples that could not be used: they stand in their place, masked."""
    first_row: int = 0
    """Place of the first row in the global order."""
    anchor: tuple[int, int] = (0, 0)
    """Where planning can begin anew, see vxl.data.order.stream.MicroBatch."""

    @property
    def rows(self) -> int:
        """Rows of the batch, B: the micro-batch size where rows are not packed."""
        return self.tokens_BT.shape[0]

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return int(self.layout.real_BT.sum())

    @property
    def frames(self) -> int:
        """Frames, the repeated ones included."""
        return self.frames_FCHW.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """A copy with its tensors on a device."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """A copy with its tensors in page-locked memory, but for frames that are on a card already."""
        return self._map(lambda v: v if isinstance(v, Tensor) and v.device.type != "cpu" else v.pin_memory())

    def _map(self, function: Any) -> "Batch":
        fields_moved = {name: function(v) for name, v in vars(self).items() if isinstance(v, Tensor | Layout)}
        return replace(self, **fields_moved)


def collate(
    rows: Sequence[Sequence[Example]], pad: int, *, first_row: int = 0, anchor: tuple[int, int] = (0, 0)
) -> Batch:
    """Joins rows into a batch.

    Args:
        rows: Each a list of examples that share a row without seeing each other.
        pad: Padding token.
        first_row: Place of the first row in the global order.
        anchor: Passed on to the batch.
    """
    length = max(sum(len(example.encoded) for example in row) for row in rows)
    shape = (len(rows), length)
    tokens_BT = torch.full(shape, pad)
    labels_BT = torch.full(shape, IGNORE)
    positions_BT = torch.zeros(shape, dtype=torch.int64)
    layout = Layout(
        kind_BT=torch.zeros(shape, dtype=torch.uint8),
        group_BT=torch.full(shape, -1, dtype=torch.int32),
        item_BT=torch.full(shape, -1, dtype=torch.int32),
        document_BT=torch.full(shape, -1, dtype=torch.int32),
        seconds_BT=torch.full(shape, -1.0),
        question_BT=torch.zeros(shape, dtype=torch.bool),
    )
    answers: list[tuple[int, int]] = []
    for b, row in enumerate(rows):
        start = groups = items = 0
        for document, example in enumerate(row):
            encoded, stop = example.encoded, start + len(example.encoded)
            tokens_BT[b, start:stop] = torch.tensor(encoded.tokens)
            labels_BT[b, start + 1 : stop] = torch.tensor(encoded.labels[1:])
            positions_BT[b, start:stop] = torch.arange(stop - start)
            layout.kind_BT[b, start:stop] = torch.tensor(encoded.kind, dtype=torch.uint8)
            layout.group_BT[b, start:stop] = _shifted(encoded.group, groups)
            layout.item_BT[b, start:stop] = _shifted(encoded.item, items)
            layout.document_BT[b, start:stop] = document
            layout.seconds_BT[b, start:stop] = torch.tensor(encoded.seconds)
            layout.question_BT[b, start:stop] = torch.tensor(encoded.question)
            if example.question is not None and encoded.answer_at is not None:
                answers.append((b, start + encoded.answer_at))
            start, items = stop, items + len(encoded.items)
            groups += sum(item.groups for item in encoded.items)
    supervised_BT = labels_BT != IGNORE
    order_BT = supervised_BT.flatten().cumsum(0).view(shape) - 1
    examples = [example for row in rows for example in row]
    questioned = [e for e in examples if e.question is not None and e.encoded.answer_at is not None]
    return Batch(
        tokens_BT=tokens_BT,
        labels_BT=labels_BT,
        positions_BT=positions_BT,
        layout=layout,
        frames_FCHW=joined_frames([example.frames_FCHW for example in examples]),
        items=[item for example in examples for item in example.encoded.items],
        supervised=int(supervised_BT.sum()),
        visual_tokens=int(layout.visual_BT.sum()),
        answer_at_Q=torch.tensor([int(order_BT[place]) for place in answers], dtype=torch.int64),
        letters_Q=[list(example.letters) for example in questioned],
        answer_Q=[ord(example.question.answer) - ord("A") for example in questioned if example.question],
        keys_Q=[example.key for example in questioned],
        keys=[example.key for example in examples if not example.padding],
        bad=[example.bad for example in examples if example.bad is not None],
        first_row=first_row,
        anchor=anchor,
    )


def joined_frames(frames: list[Tensor]) -> Tensor:
    """Frames of several visuals in one tensor; those of a single one are not copied.

    It is on the card where one of them is: images, and videos without a file, are not.
    """
    place = next((each.device for each in frames if each.device.type != "cpu"), None)
    if place is not None:
        frames = [each.to(place) for each in frames]
    return frames[0] if len(frames) == 1 else torch.cat(frames)


def _shifted(numbers: list[int], by: int) -> Tensor:
    """Numbers of a document as numbers of its row; -1 stays."""
    numbers_R = torch.tensor(numbers, dtype=torch.int32)
    return torch.where(numbers_R < 0, numbers_R, numbers_R + by)
