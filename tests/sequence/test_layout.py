"""The layout of a batch."""

import torch

from vxl.sequence.layout import Kind, Layout


def layout() -> Layout:
    return Layout(
        kind_BT=torch.tensor([[0, 1, 2, 2, 0]], dtype=torch.uint8),
        group_BT=torch.tensor([[-1, 0, 0, 0, -1]], dtype=torch.int32),
        item_BT=torch.tensor([[-1, 0, 0, 0, -1]], dtype=torch.int32),
        document_BT=torch.tensor([[0, 0, 0, 0, -1]], dtype=torch.int32),
        seconds_BT=torch.tensor([[-1.0, 2.5, 2.5, 2.5, -1.0]]),
        question_BT=torch.tensor([[False, False, False, False, True]]),
    )


def test_visual_positions_are_told_from_time_text():
    assert layout().visual_BT.tolist() == [[False, False, True, True, False]]


def test_padding_is_what_belongs_to_no_document():
    assert layout().real_BT.tolist() == [[True, True, True, True, False]]


def test_a_slice_takes_the_same_positions_of_everything():
    part = layout().slice(1, 3)
    assert part.shape == (1, 2)
    assert part.kind_BT.tolist() == [[Kind.TIME, Kind.VISUAL]]
    assert part.seconds_BT.tolist() == [[2.5, 2.5]]


def test_moving_keeps_types():
    moved = layout().to("meta")
    assert moved.group_BT.device.type == "meta"
    assert [moved.kind_BT.dtype, moved.group_BT.dtype, moved.seconds_BT.dtype] == [
        torch.uint8,
        torch.int32,
        torch.float32,
    ]


def test_text_alone_is_one_document_without_groups():
    text = Layout.text(2, 3)
    assert not text.visual_BT.any()
    assert text.real_BT.all()
    assert (text.group_BT == -1).all()
    assert (text.item_BT == -1).all()
