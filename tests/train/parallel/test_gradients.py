"""The gradient's norm by part, and its scaling; of sharded gradients: tests/strategies."""

import torch

from vxl.train.parallel.gradients import norms_of, scale

CPU = torch.device("cpu")


def test_each_part_has_its_norm_and_a_part_without_gradients_has_none():
    parts = [[torch.full((2, 2), 3.0), torch.full((4,), 4.0)], [], [torch.zeros(0), torch.tensor([5.0])]]
    assert norms_of(parts, CPU).tolist() == [10.0, 0.0, 5.0]


def test_norms_of_coarse_gradients_are_not_coarse():
    gradients = [torch.ones(257, dtype=torch.bfloat16)]
    found = norms_of([gradients], CPU)
    assert found.dtype == torch.float32
    assert found[0] == torch.tensor(257.0).sqrt()


def test_double_gradients_have_double_norms():
    exact = torch.randn(1000, dtype=torch.float64)
    assert norms_of([[exact]], CPU)[0] == torch.linalg.vector_norm(exact)


def test_gradients_are_scaled_in_place_without_a_graph():
    gradients = [torch.ones(3, requires_grad=True).mul(2).detach(), torch.zeros(0)]
    scale(gradients, 0.25)
    assert gradients[0].tolist() == [0.5, 0.5, 0.5]
    assert not gradients[0].requires_grad
