"""A block of a tower in float8 through torch.compile: one program, in which what enters layers is coded."""

import re

import pytest
import torch

from vxl.vision.siglip import Siglip, SiglipConfig
from vxl.weights.coded import coded
from vxl.weights.fp8 import Fp8Linear


def off(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.slow
@torch.no_grad()
def test_a_block_compiles_whole_and_codes_with_what_stands_before() -> None:
    from torch._inductor.utils import run_and_get_code

    config = SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=1, fp8="emulated")
    tower = Siglip(config).requires_grad_(False).eval()
    tower.to_fp8()
    (block,), x_FPV = tower.blocks, torch.randn(2, 16, 64)
    emulated_FPV = block(x_FPV)
    for _, layer in coded(tower):
        assert isinstance(layer, Fp8Linear)
        layer.emulated = False
    plain_FPV = block(x_FPV)
    assert off(plain_FPV, emulated_FPV) < 0.02  # the card's product gives bf16, and is coded again
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True)
    compiled_FPV, (program,) = run_and_get_code(compiled, x_FPV)
    assert off(compiled_FPV, plain_FPV) < 0.02
    kernels = re.findall(r"^cpp_fused_(\w+) = async_compile", program, re.MULTILINE)
    coding = [kernel for kernel in kernels if "amax" in kernel]
    assert (
        len(coding) == 4
    )  # queries, keys and values share theirs; attention's output; both layers of the MLP
    assert ["native_layer_norm" in coding[0], "layer_norm" in coding[2], "gelu" in coding[3]] == [True] * 3
    assert program.count("torch.ops.aten._scaled_mm") + program.count("extern_kernels._scaled_mm") == 6
