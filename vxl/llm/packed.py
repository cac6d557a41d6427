"""Frozen weights in 4 or 8 bits beside LoRA's updates (QLoRA, arXiv 2305.14314): less memory in training.

bitsandbytes packs and unpacks. A layer computes with its unpacked weight in bf16, and that is what
checkpoints hold, under its own name: evaluation, warm starts and export know of no packing. Packing such a
weight again gives the same bits.
"""

import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.llm.lora import LoRALinear
from vxl.weights.coded import CodedLinear

Packing = Literal["int8", "nf4"]
PACKINGS: tuple[Packing, ...] = get_args(Packing)
BLOCK = 64
"""Weights of nf4 that share a range."""


class PackedLinear(CodedLinear, LoRALinear):
    """An adapted layer whose weight is held in int8 (a range a row) or nf4 (a range for 64 weights).

    Ranges are rounded to bf16, so that the unpacked weight has no bits that bf16 lacks.
    """

    def __init__(self, layer: LoRALinear, kind: Packing) -> None:
        """Takes everything of `layer` but its weight itself, not copies."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.scale, self.dropout = layer.scale, layer.dropout
        self.bias, self.lora_A, self.lora_B = layer.bias, layer.lora_A, layer.lora_B
        self.kind: Packing = kind
        codes, ranges = pack_weight(layer.weight.detach(), kind)
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("ranges", ranges, persistent=False)
        self.train(layer.training)

    @property
    def weight(self) -> Tensor:
        """bf16, unpacked anew each time."""
        shape = (self.out_features, self.in_features)
        return unpack_weight(self.get_buffer("codes"), self.get_buffer("ranges"), self.kind, shape)

    def hold(self, weight: Tensor) -> None:
        """Packs another weight, in place."""
        for name, tensor in zip(("codes", "ranges"), pack_weight(weight, self.kind), strict=True):
            self.get_buffer(name).copy_(tensor)

    def weight_for_backward(self, kind: torch.dtype) -> Callable[[], Tensor]:
        """Unpacks for the backward pass too: kept from the forward pass, weights would be whole in memory."""
        return lambda: self.weight.to(kind)


def pack_weight(weight: Tensor, kind: Packing) -> tuple[Tensor, Tensor]:
    """(codes, ranges) of a weight, on the CPU.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    functional, weight = library(), weight.to("cpu", torch.float32)
    if kind == "int8":
        codes, ranges, _ = functional.int8_vectorwise_quant(weight)
    else:
        codes, state = functional.quantize_4bit(weight, blocksize=BLOCK, quant_type="nf4")
        ranges = state.absmax
    return codes, ranges.to(torch.bfloat16).to(torch.float32)


def unpack_weight(codes: Tensor, ranges: Tensor, kind: Packing, shape: tuple[int, int]) -> Tensor:
    """The weight in bf16, where its codes are."""
    functional, ranges = library(), ranges.to(torch.float32)
    if kind == "int8":
        return functional.int8_vectorwise_dequant(codes, ranges).to(torch.bfloat16)
    # As one row: 64 weights that share a range may lie in two rows, but bitsandbytes' kernel for AVX-512
    # begins a new range with each row, and takes wrong ones where a width is no multiple of 64.
    state = functional.QuantState(
        absmax=ranges, shape=(shape[0] * shape[1],), blocksize=BLOCK, quant_type="nf4", dtype=torch.bfloat16
    )
    return functional.dequantize_4bit(codes, state).view(shape)


def library() -> Any:
    """bitsandbytes.functional.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("bitsandbytes.functional")
    except ImportError as error:
        raise ConfigError(
            f"trainer.frozen=int8 and nf4 need bitsandbytes: {error}\n"
            "  type  pip install 'vxl[quantised]'   or  trainer.frozen=bf16"
        ) from error


def pack_adapted(model: nn.Module, kind: Packing) -> None:
    """Packs the weights beside LoRA's updates, layer by layer."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is LoRALinear:
                setattr(parent, name, PackedLinear(child, kind))


Frozen = Literal["same", "bf16", Packing]
