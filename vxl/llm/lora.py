"""LoRA (arXiv 2106.09685): small trained updates beside frozen weights of the language model.

Our own few lines and not peft: peft wraps modules, which renames the frozen weights in every checkpoint,
warm start and export (`….base_layer.weight` under `base_model.model.`), while here an adapted layer keeps its
weight's name and gains `lora_A` and `lora_B` beside it. So a run with LoRA starts from any weights of ours,
and its export is the base with the updates added in.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.precision import product_dtype

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Updates of low rank; the weights beside them stay as they are."""

    rank: int = 0
    """Rank of each update; 0: no LoRA, the language model learns in full where the stage trains it."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank."""
    dropout: float = 0.0
    """Dropout on what an update reads."""
    layers: list[str] = field(default_factory=lambda: list(LAYERS))
    """Names of the linear layers of each block that get an update."""

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ConfigError(f"rank={self.rank} is no rank.\n  expected: 0 (no LoRA) or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout} is no probability.\n  expected: 0 <= dropout < 1")
        if self.rank and not self.layers:
            raise ConfigError(f"layers=[] adapts nothing.\n  choose from: {', '.join(LAYERS)}")


class LoRALinear(nn.Linear):
    """x W^T + b + (alpha / rank) x A^T B^T, with W and b under the names that they had."""

    def __init__(self, base: nn.Linear, config: LoRAConfig) -> None:
        """Takes the weight of `base` itself, not a copy."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.scale = config.alpha / config.rank
        self.dropout = config.dropout
        self.lora_A = nn.Parameter(base.weight.new_empty(config.rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_empty(base.out_features, config.rank))
        self.reset_update()

    def reset_update(self) -> None:
        """Random A, zero B: the layer is its base."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if (self.dropout and self.training) or torch.compiler.is_compiling():  # which joins sums itself
            x = F.dropout(input, self.dropout, self.training)
            update = F.linear(F.linear(x, self.lora_A) * self.scale, self.lora_B)
            return F.linear(input, self.weight.to(update.dtype), self.bias) + update
        kind = product_dtype(input)
        tensors = (input, self.weight, self.bias, self.lora_A, self.lora_B)
        with torch.autocast(input.device.type, kind, enabled=False):
            return _Adapted.apply(*tensors, self.scale, kind, self.weight_for_backward(kind))

    def weight_for_backward(self, kind: torch.dtype) -> Callable[[], Tensor] | None:
        """How the backward pass gets the weight, if not from the forward pass."""
        return None


class _Adapted(torch.autograd.Function):
    """The adapted product. The update is added within its own product, forward and backward: beside a frozen
    weight, sums of wide tensors would cost a tenth of the step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
        *updates, ctx.scale, kind, ctx.weight_for_backward = rest
        ctx.kinds = [None if tensor is None else tensor.dtype for tensor in (x, weight, bias, *updates)]
        x, weight, lora_A, lora_B = (tensor.to(kind) for tensor in (x, weight, *updates))
        out = F.linear(x, weight, None if bias is None else bias.to(kind))
        down = x.flatten(0, -2) @ lora_A.t()
        out.view(-1, out.shape[-1]).addmm_(down, lora_B.t(), alpha=ctx.scale)
        ctx.save_for_backward(x, None if ctx.weight_for_backward else weight, lora_A, lora_B, down)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, lora_A, lora_B, down = ctx.saved_tensors
        weight = ctx.weight_for_backward() if ctx.weight_for_backward else weight
        out = gradients[0].reshape(-1, weight.shape[0])
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        to_down = (out @ lora_B) * ctx.scale
        of_x = (out @ weight).addmm_(to_down, lora_A).view_as(x) if wants_x else None
        of_weight = out.t() @ x.flatten(0, -2) if wants_weight else None
        of_bias = out.sum(0) if wants_bias else None
        of_A, of_B = to_down.t() @ x.flatten(0, -2), (out.t() @ down) * ctx.scale
        with_kinds = zip((of_x, of_weight, of_bias, of_A, of_B), ctx.kinds, strict=True)
        return *(None if tensor is None else tensor.to(kind) for tensor, kind in with_kinds), None, None, None


def adapt(model: nn.Module, config: LoRAConfig) -> None:
    """Gives the named linear layers of a model their updates; nothing for rank 0.

    Raises:
        ConfigError: A name is no linear layer of the model.
    """
    if not config.rank:
        return
    adapted_names: set[str] = set()
    linear: set[str] = set()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                linear.add(name)
                if name in config.layers:
                    setattr(parent, name, LoRALinear(child, config))
                    adapted_names.add(name)
    unknown = [name for name in config.layers if name not in adapted_names]
    if unknown:
        raise ConfigError(
            f"llm.lora.layers names {', '.join(unknown)}, which the language model does not have.\n"
            f"  allowed: {', '.join(sorted(linear - {'lm_head'}))}"
        )


def is_update(name: str) -> bool:
    """Whether a parameter is LoRA's, by its name."""
    return name.endswith((".lora_A", ".lora_B"))


def updated(names: Mapping[str, object]) -> list[str]:
    """The names of the weights that have updates beside them."""
    return [name.removesuffix("lora_B") + "weight" for name in names if name.endswith(".lora_B")]


def merged_weight(weight: Tensor, lora_A: Tensor, lora_B: Tensor, scale: float) -> Tensor:
    """The weight with its update added in, in its own precision; computed in at least float32."""
    kind = torch.promote_types(weight.dtype, torch.float32)
    return (weight.to(kind) + scale * (lora_B.to(kind) @ lora_A.to(kind))).to(weight.dtype)
