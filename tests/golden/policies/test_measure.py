"""Every recorded policy is reached within the tolerance, and listed in the table of README.md."""

import pytest
import torch

from tests.golden import DTYPES, TOLERANCE
from tests.golden.policies.measure import MEASURED, found, listed, measure
from vxl.kv.pyramid import pyramid


def test_the_table_lists_every_recorded_policy() -> None:
    assert set(listed()) == set(MEASURED)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MEASURED)
def test_every_recorded_policy_is_reached(name: str, dtype: torch.dtype) -> None:
    errors = measure(name, dtype)
    assert errors.unlike == 0
    assert max(errors.scores, errors.logits) <= TOLERANCE[dtype]
    assert errors.sets or dtype == torch.float32
    assert errors.logits or errors.scores or errors.sets
    column = list(TOLERANCE).index(dtype)
    for number, told in (
        (errors.scores, listed()[name][column]),
        (errors.logits, listed()[name][2 + column]),
    ):
        rounding = 10 * torch.finfo(dtype).eps  # another machine rounds otherwise, where one has none at all
        assert number <= max(10 * float(told or 0), rounding), "the table is not of this code"


def test_the_rooms_of_28_layers_are_kvpress() -> None:
    rooms = found("kv_0")["pyramid.table"]
    for i, watched in enumerate((96, 200, 1000, 5000, 20000)):
        for j, keep in enumerate((0.5, 0.25, 0.1)):
            for k, (window, beta) in enumerate(((64, 20.0), (32, 20.0), (8, 2.0))):
                mean = torch.tensor([watched * keep], dtype=torch.float64)
                ours = torch.cat(pyramid(torch.tensor([watched]), mean, 28, window, beta))
                assert torch.equal(ours, rooms[i, j, k])
