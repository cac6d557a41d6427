"""Bi-level decoding against the published numbers."""

import pytest
import torch

from tests.golden import TOLERANCE, error, golden
from tests.kv.published import levels


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", [0, 1, 2, 3])
def test_two_levels_are_the_published_ones(case: int, dtype: torch.dtype) -> None:
    recorded = {name: t for name, t in golden("video_xl_2/levels").items() if name.startswith(f"case{case}.")}
    ours = levels(case, dtype)
    assert ours.keys() == recorded.keys()
    for name, tensor in ours.items():
        assert error(tensor, recorded[name]) < TOLERANCE[dtype], name
