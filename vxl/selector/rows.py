"""Selecting in the rows of a batch: each document by its own question, then what stays moves together."""

from dataclasses import replace

from torch import Tensor

from vxl.distributed import ContextGroup, of_first
from vxl.seeds import seed_of
from vxl.selector.base import Selector
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.rows import Rows, gather


def shorten(selector: Selector, rows: Rows, first_row: int = 0, group: ContextGroup | None = None) -> Rows:
    """The same rows without the visual tokens that their questions drop; positions count what stays.

    Text keeps its order and its labels, so the supervised tokens are the same ones.

    Args:
        selector: Selects in each document by itself.
        rows: Of a micro-batch.
        first_row: Place of the first row in the global order, for random choices.
        group: The processes that share the rows, which drop the same tokens; None: no others.
    """
    embeds_BTD, kept_BT = rows.embeds_BTD.clone(), rows.layout.real_BT.clone()
    for b, document_T in enumerate(rows.layout.document_BT):
        for document in range(int(document_T.max()) + 1):
            inside_T = document_T == document
            query_QD = rows.embeds_BTD[b, query_of(selector, rows.layout, b, inside_T)]
            draw = draw_of_sample(first_row + b, document)
            choice = choose_row(selector, rows.embeds_BTD[b], rows.layout, b, inside_T, query_QD, draw)
            if choice is not None:
                shown_S, shown_SD, kept_S = choice
                embeds_BTD[b, shown_S], kept_BT[b, shown_S] = shown_SD, kept_S
    return gather(replace(rows, embeds_BTD=embeds_BTD), of_first(kept_BT, group))


def draw_of_sample(row: int, document: int) -> int:
    """The number that a sample's random choices depend on, whatever micro-batch it is in.

    Args:
        row: Place of its row in the global order.
        document: Which of the row's packed samples it is.
    """
    return row if document == 0 else seed_of("document", row, document)


def query_of(selector: Selector, layout: Layout, row: int, inside_T: Tensor) -> Tensor:
    """bool [T]: the query's tokens in one document; all its text where the user says nothing."""
    text_T = inside_T & (layout.kind_BT[row] == Kind.TEXT)
    asked_T = text_T & layout.question_BT[row]
    return text_T if selector.whole_query or not asked_T.any() else asked_T


def choose_row(
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
    choice = selector.select(embeds_TD[shown_S], kind_T[shown_S], group_S, query_QD, draw)
    return shown_S, choice.shown_SD, choice.kept_S
