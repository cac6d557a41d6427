"""Beacons and windows against the numbers of the published code of Video-XL, in pieces and recomputed.

As they are, tests.golden.test_measure holds them to the tolerance.
"""

import pytest
import torch
from torch import Tensor

from tests.golden.video_xl_model import CASES, answered, recorded, trained

NUMBERS = range(len(CASES))


def close(case: int, ours: dict[str, Tensor]) -> None:
    golden = recorded(case)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, golden[name].to(tensor.dtype), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", NUMBERS)
def test_pieces_of_any_size_give_the_published_numbers(case: int) -> None:
    close(case, answered(case, torch.float64, cut=37))


@pytest.mark.parametrize("case", NUMBERS)
def test_recomputed_activations_give_the_published_gradients(case: int) -> None:
    found = trained(case, torch.float64, checkpointing=True)
    assert len(found) == 3
    close(case, found)
