"""What a checkpoint gives back to the optimizer."""

import pytest
import torch
from torch import nn

from vxl.train.parallel.checkpoint_folders import optimizer_tensors, restore


def model(device: str) -> nn.Module:
    return nn.Linear(2, 2, device=device)


@pytest.mark.parametrize(("fused", "place"), [(True, "meta"), (False, "cpu")])
def test_steps_are_counted_where_the_optimizers_kernel_looks_for_them(fused, place):
    learnt = model("cpu")
    optimizer = torch.optim.AdamW(learnt.parameters(), fused=True)
    learnt(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors, rest = optimizer_tensors(learnt, optimizer)
    rest["groups"][0]["fused"] = fused
    elsewhere = model("meta")  # as on a GPU, while checkpoints are read into the memory of the CPU
    other = torch.optim.AdamW(elsewhere.parameters())
    restore(elsewhere, other, tensors, rest)
    assert len(other.state) == 2
    for state in other.state.values():
        assert state["step"].device.type == place
        assert state["exp_avg"].shape in ((2, 2), (2,))


def test_a_weight_that_never_had_a_gradient_has_no_state():
    learnt = model("cpu")
    optimizer = torch.optim.AdamW(learnt.parameters(), fused=True)
    learnt.bias.grad = torch.ones(2)
    optimizer.step()
    tensors, rest = optimizer_tensors(learnt, optimizer)
    other = torch.optim.AdamW(learnt.parameters(), fused=True)
    restore(learnt, other, tensors, rest)
    assert learnt.weight not in other.state
    assert other.state[learnt.bias]["step"] == 1
