"""Linear layers in float8_e4m3fn with a scale a row, for what only runs: `vision.fp8`, `llm.fp8`.

Each weight is held as codes of 8 bits and a scale for each of its rows, one an output channel; what enters a
layer is coded when it comes, with a scale a token. The product is that of the codes, summed in float32, times
both scales. Weights' scales are powers of two, which costs a floating format next to nothing: products by
them are exact, the unpacked weight has no bits that bf16 lacks, and coding it again gives the same weight.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.precision import product_dtype
from vxl.weights.coded import CodedLinear

log = logging.getLogger(__name__)

Fp8 = Literal[False, True, "emulated"]
CODES = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest number of the format."""
SMALLEST = 1e-12
"""The least scale: a row of zeros has one, too."""
MULTIPLE = 16
"""Of which both sizes of a layer are multiples: the card's products want it."""
CAPABILITY = (8, 9)
"""The first cards with such products: Ada. Hopper has 9.0, Blackwell 10.0 and 12.0."""
MANY = 256
"""Rows from which on coding is compiled: fewer take no time, and may be part of a captured graph."""


class Fp8Linear(CodedLinear):
    """A linear layer that was made one of these in place (`hold_in_fp8`), so that hooks and children stay."""

    emulated: bool

    @property
    def weight(self) -> Tensor:
        """bf16, exactly what the codes mean."""
        return (self.codes_OI.float() * self.get_buffer("scales")).to(torch.bfloat16)

    @property
    def codes_OI(self) -> Tensor:
        """The codes as numbers; held as integers, which no change of a model's precision touches."""
        return self.get_buffer("codes").view(CODES)

    def hold(self, weight: Tensor) -> None:
        """Codes another weight, in place."""
        for name, tensor in zip(("codes", "scales"), coded_weight(weight), strict=True):
            self.get_buffer(name).copy_(tensor)

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return self.product(input, *coded_rows(input.flatten(0, -2)))

    def product(self, input: Tensor, codes_RI: Tensor, scales_R1: Tensor) -> Tensor:
        """[..., out] of what was coded already; `input` says in which shape and precision."""
        assert not (torch.is_grad_enabled() and input.requires_grad), "float8 has no backward pass"
        kind = product_dtype(input)
        multiply = emulated_product if self.emulated else card_product
        scales_1O = self.get_buffer("scales").float().t()
        with torch.autocast(input.device.type, enabled=False):
            out_RO = multiply(codes_RI, self.codes_OI, scales_R1, scales_1O, self.bias, kind)
        return out_RO.view(*input.shape[:-1], self.out_features)


def card_product(
    codes_RI: Tensor, codes_OI: Tensor, scales_R1: Tensor, scales_1O: Tensor, bias: Tensor | None, kind: Any
) -> Tensor:
    """The card's own product. It gives bf16, whatever the precision around it, and sums in float32."""
    out_RO = torch._scaled_mm(
        codes_RI,
        codes_OI.t(),
        scale_a=scales_R1,
        scale_b=scales_1O,
        bias=None if bias is None else bias.to(torch.bfloat16),
        out_dtype=torch.bfloat16,
        use_fast_accum=False,  # which would round sums to 14 bits on the way
    )
    return out_RO.to(kind)


def emulated_product(
    codes_RI: Tensor, codes_OI: Tensor, scales_R1: Tensor, scales_1O: Tensor, bias: Tensor | None, kind: Any
) -> Tensor:
    """The same numbers from an ordinary product, on any device: two codes' product is exact in float32."""
    wide = torch.promote_types(kind, torch.float32)
    out_RO = F.linear(codes_RI.to(wide), codes_OI.to(wide)) * scales_R1.to(wide) * scales_1O.to(wide)
    return (out_RO if bias is None else out_RO + bias.to(wide)).to(kind)


def coded_rows(rows_RI: Tensor) -> tuple[Tensor, Tensor]:
    """(codes, scales) of what enters a layer, a scale a row."""
    eager = not rows_RI.is_cuda or len(rows_RI) < MANY or torch.compiler.is_compiling()
    return (code_rows if eager else _compiled())(rows_RI)


def code_rows(rows_RI: Tensor) -> tuple[Tensor, Tensor]:
    """The coding itself, of elementwise steps and one maximum: torch.compile makes one kernel of it, and of
    a norm before it."""
    wide_RI = rows_RI.float()
    scales_R1 = (wide_RI.abs().amax(-1, keepdim=True) / LARGEST).clamp(min=SMALLEST)
    return (wide_RI / scales_R1).to(CODES), scales_R1


@cache
def _compiled() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return torch.compile(code_rows, dynamic=True)


def coded_weight(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """(codes as integers, scales [O, 1]) of a weight: each row by the least power of two that fits it in."""
    wide_OI = weight_OI.detach().float()
    needed_O1 = wide_OI.abs().amax(1, keepdim=True).clamp(min=SMALLEST) / LARGEST
    mantissas_O1, exponents_O1 = torch.frexp(needed_O1)
    exponents_O1 -= (mantissas_O1 == 0.5).int()  # a power of two itself
    scales_O1 = torch.ldexp(torch.ones_like(needed_O1), exponents_O1)
    return (wide_OI / scales_O1).to(CODES).view(torch.uint8), scales_O1


def together(input: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
    """What several layers make of the same input, which is coded once where all of them are in float8."""
    if not all(type(layer) is Fp8Linear and not layer._forward_hooks for layer in layers):
        return [layer(input) for layer in layers]
    entering = coded_rows(input.flatten(0, -2))
    return [layer.product(input, *entering) for layer in layers if isinstance(layer, Fp8Linear)]


def fits(layer: nn.Linear) -> bool:
    """Whether the card multiplies matrices of such sizes."""
    return layer.in_features % MULTIPLE == 0 and layer.out_features % MULTIPLE == 0


def hold_in_fp8(
    blocks: Iterable[nn.Module],
    key: str,
    emulated: bool,
    kinds: tuple[type[nn.Linear], ...] = (nn.Linear,),
    whole: Callable[[nn.Linear], Tensor] = lambda layer: layer.weight,
) -> list[str]:
    """Makes the linear layers of blocks `Fp8Linear`, in place; those whose sizes don't fit stay as they are.

    Args:
        blocks: What a part repeats.
        key: `vision.fp8` or `llm.fp8`, for the log.
        emulated: Whether products are made without the card's own.
        kinds: Classes of layers to take, themselves and not what derives from them.
        whole: The weight of a layer, where more than one tensor makes it.

    Returns:
        The names of those that stay, as their blocks call them.
    """
    staying: dict[str, None] = {}
    for block in blocks:
        for name, layer in block.named_modules():
            if type(layer) not in kinds:
                continue
            assert isinstance(layer, nn.Linear)
            if not fits(layer):
                staying[f"{name} ({layer.in_features} x {layer.out_features})"] = None
                continue
            codes, scales = coded_weight(whole(layer))
            for own in {own for own, _ in layer.named_parameters(recurse=False)} - {"bias"}:
                delattr(layer, own)
            layer.__class__ = Fp8Linear
            layer.register_buffer("codes", codes, persistent=False)
            layer.register_buffer("scales", scales, persistent=False)
            layer.emulated = emulated
    if staying:
        log.warning("%s: no multiples of %d, and so left as they are: %s", key, MULTIPLE, ", ".join(staying))
    return list(staying)


def refuse_without_fp8(fp8: Fp8, key: str, device: torch.device) -> None:
    """Refuses products in float8 where there are none.

    Raises:
        ConfigError: The device is no GPU, or one of an earlier kind.
    """
    if fp8 is not True:
        return
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= CAPABILITY:
            return
        name = torch.cuda.get_device_name(device)
        got = f"{name} has compute capability {capability[0]}.{capability[1]}"
    else:
        got = f"the model is to run on device={device.type}"
    raise ConfigError(
        f"{key}=true needs a GPU that multiplies in float8, and {got}.\n"
        f"  allowed: compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or more (Ada, Hopper, Blackwell)\n"
        f"  type  {key}=false   or, for the same numbers at no speed,  {key}=emulated"
    )
