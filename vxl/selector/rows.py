"""Selecting in the rows of a batch: each document by its own question, then what stays moves together."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from vxl.data.layout import Kind, Layout
from vxl.selector.base import Selector

IGNORE = -100
PADDING = {"kind_BT": 0, "group_BT": -1, "item_BT": -1, "document_BT": -1, "seconds_BT": -1.0}


@dataclass(frozen=True, eq=False)
class Rows:
    """Spliced sequences, padded on the right."""

    embeds_BTD: Tensor
    labels_BT: Tensor
    positions_BT: Tensor
    layout: Layout


def shorten(selector: Selector, rows: Rows, draw: int = 0) -> Rows:
    """The same rows without the visual tokens that their questions drop; positions count what stays.

    Text keeps its order and its labels, so the supervised tokens are the same ones.
    """
    embeds_BTD, kept_BT = rows.embeds_BTD.clone(), rows.layout.real_BT.clone()
    for b, document_T in enumerate(rows.layout.document_BT):
        for document in range(int(document_T.max()) + 1):
            inside_T = document_T == document
            query_QD = rows.embeds_BTD[b, query_of(selector, rows.layout, b, inside_T)]
            found = choose(selector, rows.embeds_BTD[b], rows.layout, b, inside_T, query_QD, draw)
            if found is not None:
                shown_S, shown_SD, kept_S = found
                embeds_BTD[b, shown_S], kept_BT[b, shown_S] = shown_SD, kept_S
    return gather(replace(rows, embeds_BTD=embeds_BTD), kept_BT)


def query_of(selector: Selector, layout: Layout, row: int, inside_T: Tensor) -> Tensor:
    """bool [T]: the query's tokens in one document; all its text where the user says nothing."""
    text_T = inside_T & (layout.kind_BT[row] == Kind.TEXT)
    asked_T = text_T & layout.question_BT[row]
    return text_T if selector.whole_query or not asked_T.any() else asked_T


def choose(
    selector: Selector,
    embeds_TD: Tensor,
    layout: Layout,
    row: int,
    inside_T: Tensor,
    query_QD: Tensor,
    draw: int,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Selects in one document: (its shown positions, what stands there, which of them stay).

    None where it shows nothing.
    """
    kind_T = layout.kind_BT[row]
    if not (inside_T & (kind_T == Kind.VISUAL)).any():
        return None
    shown_S = (inside_T & (kind_T != Kind.TEXT)).nonzero().squeeze(1)
    group_S = layout.group_BT[row, shown_S]
    found = selector.select(embeds_TD[shown_S], kind_T[shown_S], group_S, query_QD, draw)
    return shown_S, found.shown_SD, found.kept_S


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
