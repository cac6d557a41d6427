"""Linear layers in float8: their numbers against float64, and the card's product against the emulated one."""

import copy
import logging
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.llm.beacon import BeaconLinear
from vxl.weights import fp8
from vxl.weights.coded import coded, hold_again
from vxl.weights.fp8 import (
    CODES,
    LARGEST,
    Fp8Linear,
    code_rows,
    coded_weight,
    hold_in_fp8,
    refuse_without_fp8,
    together,
)

HALF = 2.0**-4
"""Half of a step between neighbours of three bits behind the point: how far a normal number is rounded."""
LEAST = 2.0**-10
"""Half of the step between the smallest numbers of the format."""


def numbers(rows: int, columns: int, seed: int = 0) -> Tensor:
    """Rows of very different sizes, each with one column that stands out."""
    made = torch.Generator().manual_seed(seed)
    wide = torch.randn(rows, columns, generator=made)
    wide[:, 3] *= 20
    return wide * torch.logspace(-4, 3, rows)[:, None]


def layer(inner: int = 48, outer: int = 32, bias: bool = True) -> nn.Linear:
    made = nn.Linear(inner, outer, bias=bias).requires_grad_(False)
    made.weight.copy_(numbers(outer, inner, seed=1))
    return made


def in_fp8(made: nn.Linear) -> Fp8Linear:
    held = copy.deepcopy(made)
    assert hold_in_fp8([nn.Sequential(held)], "llm.fp8", emulated=True) == []
    assert type(held) is Fp8Linear
    return held


def bound(scales: Tensor, exact: Tensor) -> Tensor:
    """How far a number may be from its code's: by the format, of normal numbers and of the smallest."""
    return torch.maximum(HALF * exact.abs(), LEAST * scales)


def test_a_code_is_as_near_as_the_format_allows() -> None:
    exact_OI = numbers(40, 64)
    exact_OI[0, 3] = LARGEST  # for which a scale of 1 is the least power of two
    codes, scales = coded_weight(exact_OI)
    entering, rows = code_rows(exact_OI)
    for held, scale in ((codes.view(CODES), scales), (entering, rows)):
        assert held.dtype is CODES
        means = held.double() * scale.double()
        assert bool(((means - exact_OI.double()).abs() <= bound(scale.double(), exact_OI.double())).all())
    largest = (exact_OI.abs().amax(1, keepdim=True) / scales).double()
    assert largest.max() <= LARGEST
    assert largest.min() > LARGEST / 2  # else another power of two would be nearer
    assert torch.equal(torch.frexp(scales).mantissa, torch.full((40, 1), 0.5))
    assert float(entering.float().abs().amax(1).min()) == LARGEST


@pytest.mark.parametrize("largest", [448.0, 447.9, 225.0, 3.5 * 2**-20, 7 * 2.0**40, 0.0])
def test_coding_an_unpacked_weight_again_gives_the_same_weight(largest: float) -> None:
    weight = numbers(16, 32)
    weight[0] *= largest / weight[0].abs().max()
    held = in_fp8(layer(32, 16))
    held.hold(weight)
    before = held.weight.clone()
    assert before.dtype is torch.bfloat16
    assert torch.equal(before.float(), held.codes_OI.float() * held.scales)
    held.hold(before)
    assert torch.equal(held.weight, before)
    assert bool(before.isfinite().all())


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_within_the_format_s_bound_of_float64(bias: bool) -> None:
    made = layer(bias=bias)
    held, x = in_fp8(made), numbers(24, 48, seed=2)
    exact_RO = nn.functional.linear(x.double(), made.weight.double(), made.bias.double() if bias else None)
    scales_O1, scales_R1 = held.get_buffer("scales").double(), code_rows(x)[1].double()
    off_x, off_weight = bound(scales_R1, x.double()), bound(scales_O1, made.weight.double())
    allowed = (
        off_x @ made.weight.double().abs().t() + x.double().abs() @ off_weight.t() + off_x @ off_weight.t()
    )
    off = (held(x).double() - exact_RO).abs()
    assert bool((off <= allowed * (1 + 1e-5)).all())
    relative = float((off.square().sum(1).sqrt() / exact_RO.square().sum(1).sqrt()).median())
    assert 0.005 < relative < 0.06  # both are rounded to 4 bits


def test_the_emulated_product_is_exact_but_for_the_sum() -> None:
    """Against the codes' own numbers in float64, in float32 and in bf16."""
    held, x = in_fp8(layer()), numbers(24, 48, seed=2)
    codes, scales = code_rows(x)
    exact = (codes.double() * scales.double()) @ (
        held.codes_OI.double() * held.get_buffer("scales").double()
    ).t()
    exact = exact + held.bias.double()
    torch.testing.assert_close(held(x).double(), exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))
    with torch.autocast("cpu", torch.bfloat16):
        lower = held(x)
    assert lower.dtype is torch.bfloat16
    assert torch.equal(lower, held(x).bfloat16())


def test_the_card_s_product_is_the_emulated_one() -> None:
    """PyTorch has the card's product on the CPU, too: the same shapes, scales and sums."""
    held, x = in_fp8(layer().bfloat16()), numbers(24, 48, seed=2).bfloat16()
    emulated = held(x).float()
    held.emulated = False
    size_R1 = emulated.abs().amax(1, keepdim=True)
    assert bool(((held(x).float() - emulated).abs() <= 2**-8 * emulated.abs() + 1e-6 * size_R1).all())
    one = held(x[:1])  # a single token, as in decoding
    assert torch.equal(one, held(x)[:1])


def test_the_card_s_product_gets_what_a_card_wants() -> None:
    """Rows of codes that lie one behind the other, and scales that lie as PyTorch checks on a GPU alone."""
    seen: list[tuple[Tensor, ...]] = []

    def look(codes_RI: Tensor, codes_OI: Tensor, scales_R1: Tensor, scales_1O: Tensor, *rest: Any) -> Tensor:
        seen.append((codes_RI, codes_OI, scales_R1, scales_1O))
        return torch.zeros(len(codes_RI), len(codes_OI))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fp8, "emulated_product", look)
        in_fp8(layer())(numbers(24, 48).view(2, 12, 48))
    rows, columns, of_rows, of_columns = seen[0]
    assert (rows.shape, columns.shape) == ((24, 48), (32, 48))
    assert rows.stride() == columns.stride() == (48, 1)  # the second is given transposed: column by column
    assert (of_rows.shape, of_columns.shape) == ((24, 1), (1, 32))
    assert (of_rows.is_contiguous(), of_columns.is_contiguous()) == (True, True)
    assert of_rows.dtype is of_columns.dtype is torch.float32


def test_nothing_but_zeros_stays_zero() -> None:
    held = in_fp8(layer(bias=False))
    assert not held(torch.zeros(3, 48)).any()
    held.hold(torch.zeros(32, 48))
    assert not held(torch.randn(3, 48)).any()


def test_layers_of_the_same_input_are_the_layers_one_by_one() -> None:
    layers, x = [in_fp8(layer(outer=outer)) for outer in (16, 32)], numbers(6, 48).view(2, 3, 48)
    for ours, theirs in zip(together(x, layers), [each(x) for each in layers], strict=True):
        assert torch.equal(ours, theirs)
    hooked = in_fp8(layer())
    hooked.register_forward_hook(lambda module, args, out: out + 1)
    assert torch.equal(together(x, [hooked, layers[0]])[0], hooked(x))
    plain = layer()
    assert torch.equal(together(x, [plain])[0], plain(x))


def test_hooks_children_and_bias_stay_and_updates_go(caplog: pytest.LogCaptureFixture) -> None:
    block = nn.ModuleDict({"even": layer(), "odd": layer(40, 32), "norm": nn.LayerNorm(48)})
    block["even"].add_module("beacon", BeaconLinear(block["even"]))
    calls: list[str] = []
    block["even"].register_forward_hook(lambda *_: calls.append("hook"))
    with caplog.at_level(logging.WARNING):
        staying = hold_in_fp8([block, nn.ModuleDict({"odd": layer(40, 32)})], "vision.fp8", emulated=True)
    assert staying == ["odd (40 x 32)"]
    assert "vision.fp8: no multiples of 16, and so left as they are: odd (40 x 32)" in caplog.text
    even = block["even"]
    even(torch.zeros(1, 48))
    assert calls == ["hook"]
    assert [name for name, _ in even.named_parameters()] == ["bias", "beacon.weight", "beacon.bias"]
    assert type(block["odd"]) is nn.Linear
    assert [name for name, _ in coded(block)] == ["even"]


def test_a_checkpoint_has_the_weight_under_its_name_and_is_read_back() -> None:
    first, second = nn.Sequential(layer()), nn.Sequential(layer())
    second[0].weight.zero_()
    for model in (first, second):
        hold_in_fp8([model], "vision.fp8", emulated=True)
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    assert set(saved) == {"0.weight", "0.bias"}
    into = second.state_dict()
    for name, tensor in into.items():
        tensor.copy_(saved[name])
    hold_again(second, into)
    x = numbers(5, 48)
    assert torch.equal(second(x), first(x))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_a_change_of_the_model_s_precision_leaves_the_codes(kind: torch.dtype) -> None:
    held = in_fp8(layer())
    before = held.weight.clone()
    assert torch.equal(held.to(kind).weight, before)
    assert held(numbers(5, 48).to(kind)).dtype is kind


def test_it_has_no_backward_pass() -> None:
    with pytest.raises(AssertionError, match="no backward pass"):
        in_fp8(layer())(torch.zeros(2, 48, requires_grad=True))


def test_where_the_card_has_none_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_without_fp8(False, "llm.fp8", torch.device("cpu"))
    refuse_without_fp8("emulated", "llm.fp8", torch.device("cpu"))
    with pytest.raises(ConfigError) as error:
        refuse_without_fp8(True, "llm.fp8", torch.device("cpu"))
    assert str(error.value) == (
        "llm.fp8=true needs a GPU that multiplies in float8, and the model is to run on device=cpu.\n"
        "  allowed: compute capability 8.9 or more (Ada, Hopper, Blackwell)\n"
        "  type  llm.fp8=false   or, for the same numbers at no speed,  llm.fp8=emulated"
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(ConfigError, match=r"vision\.fp8=true .* NVIDIA A100 has compute capability 8\.0"):
        refuse_without_fp8(True, "vision.fp8", torch.device("cuda"))
    for capability in ((8, 9), (9, 0), (10, 0), (12, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        refuse_without_fp8(True, "vision.fp8", torch.device("cuda"))


@pytest.mark.slow
def test_coding_and_a_norm_before_it_compile_to_one_kernel() -> None:
    from torch._inductor.utils import run_and_get_code

    def normed(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return code_rows(nn.functional.rms_norm(x, x.shape[-1:], weight))

    x, weight = numbers(64, 384), 1 + 0.1 * torch.randn(384)
    torch._dynamo.reset()
    (codes, scales), (program,) = run_and_get_code(torch.compile(normed), x, weight)
    assert len(re.findall(r"^cpp_fused_\w+ = async_compile", program, re.MULTILINE)) == 1
    plain_codes, plain_scales = normed(x, weight)
    torch.testing.assert_close(scales, plain_scales, rtol=1e-6, atol=0)
    differing = float((codes.view(torch.uint8) != plain_codes.view(torch.uint8)).float().mean())
    assert differing < 1e-3  # the norm's sum goes in another order


@pytest.mark.slow
def test_the_compiled_coding_that_many_rows_get_is_the_coding() -> None:
    for rows, columns in ((fp8.MANY, 48), (300, 48), (fp8.MANY, 96)):
        x = numbers(rows, columns)
        for ours, theirs in zip(fp8._compiled()(x), code_rows(x), strict=True):
            assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))
