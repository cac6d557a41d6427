"""Selecting in packed rows: every document by its own question, as if it stood alone."""

import torch

from tests.small_model import example, video
from vxl.data.batch.collate import Batch, Example, collate
from vxl.data.batch.encoded import Encoded
from vxl.selector.query import Query, QueryConfig
from vxl.selector.rows import query_of, shorten
from vxl.sequence.layout import Kind
from vxl.sequence.rows import Rows

WIDTH = 8


def selector(**settings) -> Query:
    torch.manual_seed(0)
    return Query(QueryConfig(keep=0.5, **settings), llm_width=WIDTH)


def rows_of(batch: Batch) -> Rows:
    """Each token's embedding is a function of the token, or of its place among the batch's visual tokens."""
    table = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(1))
    embeds_BTD = table[batch.tokens_BT]
    second_BT = batch.layout.seconds_BT.long().clamp(min=0)
    place_BT = batch.layout.group_BT.long().clamp(min=0) * 0 + batch.positions_BT % 7
    visual_BT = batch.layout.visual_BT
    embeds_BTD[visual_BT] = table[100 + 7 * (second_BT % 10) + place_BT][visual_BT]
    return Rows(embeds_BTD, batch.labels_BT, batch.positions_BT, batch.layout)


def asked(*question: int, groups: int) -> Example:
    """A video and what the user asks about it."""
    made = example(video(groups), seed=groups)
    encoded: Encoded = made.encoded
    encoded.text(list(question), question=True)
    encoded.text([10, 11], supervised=True)
    return made


def test_documents_of_a_packed_row_are_selected_as_if_alone() -> None:
    for settings in ({}, {"published_query": True}, {"score": "token"}):
        choose = selector(**settings)
        first, second = ((31, 32), 4), ((51, 52, 53), 3)
        packed = shorten(choose, rows_of(collate([[asked(*q, groups=g) for q, g in (first, second)]], pad=0)))
        start = 0
        for question, groups in (first, second):
            alone = shorten(choose, rows_of(collate([[asked(*question, groups=groups)]], pad=0)))
            stop = start + alone.embeds_BTD.shape[1]
            torch.testing.assert_close(packed.embeds_BTD[:, start:stop], alone.embeds_BTD)
            assert torch.equal(packed.labels_BT[:, start:stop], alone.labels_BT)
            assert torch.equal(packed.positions_BT[:, start:stop], alone.positions_BT)
            start = stop
        assert start == packed.embeds_BTD.shape[1]


def test_the_query_is_what_the_user_asks_in_this_document() -> None:
    layout = collate([[asked(31, 32, groups=2), asked(51, groups=1)]], pad=0).layout
    for document in range(2):
        inside_T = layout.document_BT[0] == document
        asked_T = query_of(selector(), layout, 0, inside_T)
        assert torch.equal(asked_T, inside_T & layout.question_BT[0])
        text_T = inside_T & (layout.kind_BT[0] == Kind.TEXT)
        assert torch.equal(query_of(selector(published_query=True), layout, 0, inside_T), text_T)
        assert int(text_T.sum()) > int(asked_T.sum()) == (2, 1)[document]
