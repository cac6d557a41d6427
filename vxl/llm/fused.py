"""A decoder's layers run by us on a GPU: its own weights, with fused steps between them.

transformers' modules read and write every hidden state some fifty times a layer between the matrix products,
and rotate by nothing before we rotate; here each of those steps is one kernel, forward and backward. Only
layers that are known number for number go this way: Qwen2, Qwen3 and Llama. All others, and the CPU, run
transformers' own forward.

At inference the whole body is run here. In training each layer is still called by transformers, so that what
is around a layer (activation checkpointing, sharding, compiling) stays as it is.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vxl.llm.attention.function import through_step
from vxl.llm.attention.step import New, Step
from vxl.llm.beacon import hooked_by_others, note
from vxl.llm.kernels import differentiable, usable
from vxl.llm.lora import LoRALinear
from vxl.precision import product_dtype
from vxl.weights.fp8 import Fp8Linear, together

Attend = Callable[[int, Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]
"""(layer, query, key, value, cosine, sine, scale) -> output [B, 1, query heads, H]."""
KNOWN = ("Qwen2Model", "Qwen3Model", "LlamaModel")
"""Bodies whose layers are norm, attention, norm, gated SiLU."""


def known(body: Any) -> bool:
    """Whether a body's layers are those that are written here."""
    scale = getattr(getattr(body, "rotary_emb", None), "attention_scaling", 1.0)  # yarn's; theirs applies it
    return type(body).__name__ in KNOWN and body.config.hidden_act == "silu" and scale == 1.0


def suits_body(body: Any, embeds_BTD: Tensor) -> bool:
    """Whether a body can be run here as a whole: nothing in it learns."""
    if not usable(embeds_BTD) or type(body).__name__ not in KNOWN:
        return False
    if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in body.parameters()):
        return False
    if not hasattr(body, "vxl_plain"):
        hooked = any(map(hooked_by_others, body.layers))
        body.vxl_plain = known(body) and not hooked and all(map(is_plain_layer, body.layers))
    return body.vxl_plain


def is_plain_layer(layer: Any) -> bool:
    """Whether a layer's projections are linear layers on one device, with LoRA or not, and nothing hooks into
    it but beacons, in projections or not."""
    attention, mlp = layer.self_attn, layer.mlp
    linear = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    linear += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    hooked = any(hooked_by_others(module) for module in layer.modules() if module is not layer)
    return not hooked and all(
        type(module) is Fp8Linear
        or (type(module) in (nn.Linear, LoRALinear) and type(module.weight) is nn.Parameter)
        for module in linear
    )


def run_body(body: Any, embeds_BTD: Tensor, step: Step, attend: Attend | None = None) -> Tensor:
    """hidden_BTD after the final norm; see `Decoder.forward`.

    Args:
        body: The model of transformers, without its output layer.
        embeds_BTD: What goes in.
        step: The pass.
        attend: Attention of a captured step, which keeps the new token itself; None = through the step, into
            `step.new`.
    """
    from vxl.llm.kernels import pointwise  # late: Triton, which only GPUs need

    note(step.beacons)
    total, add = embeds_BTD, None
    angles = half_angles(step, embeds_BTD.dtype)
    for layer in body.layers:
        total, add = through(layer, total, add, angles, step, pointwise, attend=attend)
    return pointwise.rms_norm(total, add, body.norm.weight, body.norm.variance_epsilon)[0]


def give_layers(body: Any) -> None:
    """Lets a body's layers run here in training, where kernels allow it."""
    for layer in body.layers if known(body) else ():
        layer.__class__ = fused_class(type(layer))


class Fused(nn.Module):
    """A layer's forward pass with gradients; its own where ours does not suit."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """hidden_states [B, T, D] of the same shape; `step` is among the keywords."""
        if torch.compiler.is_compiling() or not differentiable(hidden_states) or not is_plain_layer(self):
            return super().forward(hidden_states, *args, **kwargs)
        from vxl.llm.kernels import gradients  # late: Triton, which only GPUs need

        step, kind = kwargs["step"], product_dtype(hidden_states)
        note(step.beacons)
        if kind not in step.scratch:
            step.scratch[kind] = half_angles(step, kind)
        angles = step.scratch[kind]
        total, add = through(self, hidden_states, None, angles, step, gradients, kind=kind)
        return total + add


@cache
def fused_class(kind: type) -> type:
    """A class of layers of transformers with our forward pass before its own."""
    return type(kind.__name__, (Fused, kind), {})


def half_angles(step: Step, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the step's positions, [B, T, H / 2]."""
    half = step.cos_BTH.shape[-1] // 2
    cos, sin = (x[..., :half].to(kind).contiguous() for x in (step.cos_BTH, step.sin_BTH))
    return cos, sin


def through(
    layer: Any,
    total: Tensor,
    add: Tensor | None,
    angles: tuple[Tensor, Tensor],
    step: Step,
    kernels: Any,
    *,
    attend: Attend | None = None,
    kind: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """One layer: its input is the sum of two tensors, and so is its output.

    Args:
        layer: The layer of transformers.
        total: [B, T, D].
        add: [B, T, D]; None = nothing.
        angles: Of `half_angles`.
        step: The pass.
        kernels: The module with the steps between the products: with gradients, or for inference.
        attend: See `run_body`.
        kind: Precision of the products; None = that of `total`.
    """
    norm, attention, mlp = layer.input_layernorm, layer.self_attn, layer.mlp
    cos, sin = angles
    normed, total = kernels.rms_norm(total, add, norm.weight, norm.variance_epsilon, kind)
    query, key, value = (
        projected.unflatten(-1, (-1, 2 * cos.shape[-1]))
        for projected in together(normed, (attention.q_proj, attention.k_proj, attention.v_proj))
    )
    if hasattr(attention, "q_norm"):
        query = kernels.rms_norm(query, None, attention.q_norm.weight, attention.q_norm.variance_epsilon)[0]
        key = kernels.rms_norm(key, None, attention.k_norm.weight, attention.k_norm.variance_epsilon)[0]
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    if attend is not None:
        out = attend(attention.layer_idx, query, key, value, cos, sin, attention.scaling)
    else:
        rotated_key = kernels.rotated(key, cos, sin)
        if step.new is not None:
            step.new[attention.layer_idx] = New(key, value, rotated_key if step.memo else None)
        query = kernels.rotated(query, cos, sin)
        out = through_step(attention.layer_idx, query, rotated_key, value, attention.scaling, step)
    add = attention.o_proj(out.flatten(2))
    norm = layer.post_attention_layernorm
    normed, total = kernels.rms_norm(total, add, norm.weight, norm.variance_epsilon, kind)
    return total, mlp.down_proj(kernels.silu_times(*together(normed, (mlp.gate_proj, mlp.up_proj))))
