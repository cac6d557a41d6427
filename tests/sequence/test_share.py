"""The rounding of every budget."""

import pytest
import torch

from vxl.sequence.share import share


@pytest.mark.parametrize(
    ("count", "keep", "right"),
    [(9, 0.3, 3), (10, 0.25, 3), (9, 0.25, 2), (0, 0.5, 0), (10_000_001, 0.1, 1_000_000)],
    ids=["2.7", "half up", "2.25", "none", "exact where float32 is not"],
)
def test_pruners_and_policies_round_alike(count: int, keep: float, right: int) -> None:
    assert share(count, keep) == right
    assert share(torch.tensor([count]), keep).tolist() == [right]
