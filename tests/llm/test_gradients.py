"""The fused steps of training against autograd: on a GPU, or where Triton is installed in its interpreter.

TRITON_INTERPRET=1 python -m pytest tests/llm/test_gradients.py
"""

import os
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the kernels need a GPU, or TRITON_INTERPRET=1", allow_module_level=True)

from tests.llm.tiny import decoder
from vxl.llm import fused
from vxl.llm.kernels import gradients
from vxl.llm.kernels.gradients import rms_norm, rotated, silu_times
from vxl.llm.lora import LoRAConfig
from vxl.llm.rope import rotate

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE).requires_grad_()


def same(got: tuple[Tensor, ...], exact: tuple[Tensor, ...], *inputs: Tensor) -> None:
    """Values, and gradients along random directions, of the same function in float32 and in float64."""
    ways = [torch.randn_like(x) for x in got]
    back = []
    for found in (got, exact):
        along = [way.to(x.dtype) for x, way in zip(found, ways, strict=True)]
        back.append(torch.autograd.grad(found, inputs, along, retain_graph=True))
    ours, theirs = back
    for a, b in zip((*got, *ours), (*exact, *theirs), strict=True):
        assert (a.double() - b.double()).norm() <= 1e-5 * b.double().norm()


@pytest.mark.parametrize("width", [64, 200])
@pytest.mark.parametrize("rows", [3, 9])
def test_norms(width: int, rows: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(gradients, "PROGRAMS", 4)
    x, add, weight = rand(rows, width), rand(rows, width, seed=1), rand(width, seed=2)
    total = (x + add).double()
    exact = F.rms_norm(total, (width,), weight.double(), 1e-6)
    same(rms_norm(x, add, weight, 1e-6), (exact, total), x, add, weight)
    same(rms_norm(x, add, weight, 1e-6)[:1], (exact,), x, add, weight)
    normed, passed = rms_norm(x, None, weight, 1e-6)
    exact = F.rms_norm(x.double(), (width,), weight.double(), 1e-6)
    same((normed, passed * 2), (exact, x.double() * 2), x, weight)
    frozen = weight.detach()
    same(rms_norm(x, add, frozen, 1e-6)[:1], (F.rms_norm(total, (width,), frozen.double(), 1e-6),), x, add)


def test_a_norm_takes_and_gives_other_precisions() -> None:
    x, weight = rand(5, 64), rand(64, seed=2)
    add = rand(5, 64, seed=1).detach().bfloat16().requires_grad_()
    normed, total = rms_norm(x, add, weight, 1e-6, torch.bfloat16)
    assert (normed.dtype, total.dtype) == (torch.bfloat16, torch.float32)
    (normed.float().sum() + total.sum()).backward()
    assert (x.grad.dtype, add.grad.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(x.grad.bfloat16(), add.grad)


def test_gates_and_rotations() -> None:
    gate, up = rand(5, 7, 100), rand(5, 7, 100, seed=1)
    same((silu_times(gate, up),), (F.silu(gate.double()) * up.double(),), gate, up)
    x = rand(2, 5, 3, 64)
    angle = torch.arange(10.0, device=DEVICE).view(2, 5, 1) * torch.rand(32, device=DEVICE)
    cos, sin = (torch.cat((t, t), -1)[:, None].double() for t in (angle.cos(), angle.sin()))
    got = rotated(x.transpose(1, 2), angle.cos(), angle.sin())
    same((got,), (rotate(x.double().transpose(1, 2), cos, sin),), x)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
def test_a_decoder_learns_the_same(model_type: str, rank: int, checkpointing: bool, monkeypatch: Any) -> None:
    settings = {"width": 128, "heads": 2, "kv_heads": 1, "layers": 2, "lora": LoRAConfig(rank=rank)}
    llm = decoder(model_type, checkpointing=checkpointing, **settings).to(DEVICE).train()
    for name, parameter in llm.named_parameters():
        parameter.requires_grad_("lora" in name if rank else True)
    embeds = 0.3 * rand(2, 11, 128).detach()
    document = torch.zeros(2, 11, dtype=torch.int64)
    document[1, 5:] = 1
    positions = torch.arange(11, device=DEVICE).expand(2, 11)
    ran: list[int] = []
    through = fused.through
    monkeypatch.setattr(fused, "through", lambda *a, **k: (ran.append(1), through(*a, **k))[1])

    def learn(ours: bool, kind: torch.dtype) -> list[Tensor]:
        monkeypatch.setattr(fused, "differentiable", lambda _: ours)
        llm.zero_grad()
        hidden = llm.to(kind)(embeds.to(kind), llm.step(positions, document_BT=document))
        hidden.pow(2).mean().backward()
        found = [hidden, *(p.grad for p in llm.parameters() if p.grad is not None)]
        return [tensor.detach().double().clone() for tensor in found]

    exact, plain = learn(False, torch.float64), learn(False, torch.float32)
    assert not ran
    ours = learn(True, torch.float32)
    assert len(ran) == 2 * (1 + checkpointing)
    assert len(ours) > (2 * 7 if rank else 2 * 9)
    for a, b, c in zip(ours, plain, exact, strict=True):
        assert (a - c).norm() <= 3 * (b - c).norm() + 1e-6 * c.norm()
