"""Rows of a batch from which tokens are left out: embeddings, labels, positions and layout together."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from vxl.sequence.layout import Layout

IGNORE = -100
"""Label of a position that is not supervised."""

PADDING = {"kind_BT": 0, "group_BT": -1, "item_BT": -1, "document_BT": -1, "seconds_BT": -1.0}


@dataclass(frozen=True, eq=False)
class Rows:
    """Spliced sequences, padded on the right."""

    embeds_BTD: Tensor
    labels_BT: Tensor
    positions_BT: Tensor
    layout: Layout


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Tokens of several lengths, [B, T], each row filled up with its last one; and which are real, bool
    [B, T], None = all."""
    longest = max(map(len, rows))
    tokens_BT = torch.tensor([[*row, *([row[-1]] * (longest - len(row)))] for row in rows], device=device)
    lengths_B = torch.tensor([len(row) for row in rows])
    if bool((lengths_B == longest).all()):
        return tokens_BT, None
    return tokens_BT, (torch.arange(longest) < lengths_B[:, None]).to(device)


def gather(rows: Rows, kept_BT: Tensor) -> Rows:
    """What is kept of each row, padded on the right to the longest."""
    counts_B1 = kept_BT.sum(dim=1, keepdim=True)
    longest = int(counts_B1.max())
    order_BT = (~kept_BT).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    real_BT = torch.arange(longest, device=kept_BT.device) < counts_B1

    def taken(x_BT: Tensor, padding: float) -> Tensor:
        return x_BT.gather(1, order_BT).masked_fill(~real_BT, padding)

    names = [field.name for field in fields(Layout)]
    layout = Layout(**{name: taken(getattr(rows.layout, name), PADDING.get(name, 0)) for name in names})
    wide_BTD = order_BT[..., None].expand(-1, -1, rows.embeds_BTD.shape[2])
    return Rows(
        embeds_BTD=rows.embeds_BTD.gather(1, wide_BTD).masked_fill(~real_BT[..., None], 0.0),
        labels_BT=taken(rows.labels_BT, IGNORE),
        positions_BT=positions_of(layout.document_BT),
        layout=layout,
    )


def positions_of(document_BT: Tensor) -> Tensor:
    """Positions that begin at 0 in every document; 0 at padding."""
    at_T = torch.arange(document_BT.shape[1], device=document_BT.device)
    begins_BT = torch.ones_like(document_BT, dtype=torch.bool)
    begins_BT[:, 1:] = document_BT[:, 1:] != document_BT[:, :-1]
    first_BT = torch.where(begins_BT, at_T, 0).cummax(dim=1).values
    return (at_T - first_BT).masked_fill(document_BT < 0, 0)
