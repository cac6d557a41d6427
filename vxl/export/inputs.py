"""Conversations as the tensors that transformers hands around, and back.

Letters: B rows · T positions · Y what is said of a position (`WHAT`) · F frames of all visuals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.sequence.layout import Kind
from vxl.sequence.rows import IGNORE

WHAT = ("kind", "group", "item", "seconds", "question", "image", "frame")
"""What `layout_BTY` says of a position: the fields of `Encoded`, the seconds as the bits of a float32 (so
that no cast to the model's precision touches them), whether its visual is an image, and which of the frames
is its visual's first."""


@dataclass(frozen=True)
class Row:
    """One conversation."""

    encoded: Encoded
    visuals: tuple[Tensor, ...]
    """The frames of each of its items."""


def to_tensors(rows: Sequence[Row], pad: int) -> dict[str, Tensor]:
    """The inputs of a model: padded on the left, as for generation.

    Args:
        rows: Conversations.
        pad: The padding token.

    Returns:
        `input_ids`, `attention_mask`, `layout`, and `pixel_values_videos` where anything is shown.
    """
    longest = max(len(row.encoded) for row in rows)
    tokens_BT = torch.full((len(rows), longest), pad)
    mask_BT = torch.zeros(len(rows), longest, dtype=torch.int64)
    layout_BTY = torch.zeros(len(rows), longest, len(WHAT), dtype=torch.int64)
    first, frames = 0, []
    for number, row in enumerate(rows):
        begins = []
        for visual in row.visuals:
            begins.append(first)
            frames.append(visual)
            first += len(visual)
        start = longest - len(row.encoded)
        tokens_BT[number, start:] = torch.tensor(row.encoded.tokens)
        mask_BT[number, start:] = 1
        layout_BTY[number, start:] = _layout_TY(row.encoded, begins)
    tensors = {"input_ids": tokens_BT, "attention_mask": mask_BT, "layout": layout_BTY}
    return tensors | ({"pixel_values_videos": torch.cat(frames)} if frames else {})


def _layout_TY(encoded: Encoded, begins: Sequence[int]) -> Tensor:
    bits = torch.tensor(encoded.seconds, dtype=torch.float32).view(torch.int32)
    is_image = [item >= 0 and encoded.items[item].kind == "image" for item in encoded.item]
    frame = [begins[item] if item >= 0 else -1 for item in encoded.item]
    columns = (encoded.kind, encoded.group, encoded.item, bits, encoded.question, is_image, frame)
    return torch.stack([torch.as_tensor(column).to(torch.int64) for column in columns], dim=1)


def from_tensors(
    tokens_T: Tensor, layout_TY: Tensor | None, frames_FCHW: Tensor | None, frames_per_group: int
) -> Row:
    """The conversation of one row, without padding.

    Raises:
        ValueError: It shows more frames than there are.
    """
    tokens = tokens_T.tolist()
    if layout_TY is None:
        encoded = Encoded()
        encoded.text(tokens, question=True)
        return Row(encoded, ())
    kind, group, item, bits, question, image, frame = layout_TY.cpu().unbind(1)
    seconds = bits.to(torch.int32).view(torch.float32)
    items, visuals = [], []
    for number in range(int(item.max()) + 1):
        mine_T = item == number
        groups = len(group[mine_T].unique())
        first, is_image = int(frame[mine_T][0]), bool(image[mine_T][0])
        count = groups if is_image else groups * frames_per_group
        if frames_FCHW is None or first + count > len(frames_FCHW):
            raise ValueError(
                f"the layout shows frames {first} to {first + count - 1}, but pixel_values_videos has "
                f"{0 if frames_FCHW is None else len(frames_FCHW)}; pass all that the processor returned"
            )
        visuals.append(frames_FCHW[first : first + count])
        items.append(BatchedVisual("image" if is_image else "video", groups * frames_per_group, groups))
    encoded = Encoded(
        tokens=tokens,
        labels=[IGNORE] * len(tokens),
        kind=kind.tolist(),
        group=group.tolist(),
        item=item.tolist(),
        seconds=seconds.tolist(),
        question=[bool(each) for each in question.tolist()],
        items=items,
    )
    return Row(encoded, tuple(visuals))


def split(encoded: Encoded) -> tuple[Encoded, list[int]]:
    """(what is watched, the tokens behind it), cut behind the last visual; text alone is not watched."""
    shown = [place for place, kind in enumerate(encoded.kind) if kind == Kind.VISUAL]
    if not shown:
        return Encoded(), encoded.tokens
    cut = shown[-1] + 1
    return encoded.until(cut), encoded.tokens[cut:]
