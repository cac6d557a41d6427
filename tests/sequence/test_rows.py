import torch

from vxl.sequence.rows import padded


def test_rows_are_filled_up_with_their_last_token_and_say_what_is_real() -> None:
    tokens_BT, valid_BT = padded([[5, 6, 7], [8], [1, 2]], torch.device("cpu"))
    assert tokens_BT.tolist() == [[5, 6, 7], [8, 8, 8], [1, 2, 2]]
    assert valid_BT is not None
    assert valid_BT.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    assert padded([[5, 6], (7, 8)], torch.device("cpu"))[1] is None
