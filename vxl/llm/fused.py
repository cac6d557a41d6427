"""A decoder's layers run by us at inference on a GPU: its own weights, with fused steps between them.

transformers' modules read and write every hidden state some fifty times a layer between the matrix products,
and rotate by nothing before we rotate; here each of those steps is one kernel. Only layers that are known
number for number go this way: Qwen2, Qwen3 and Llama. All others, training, and the CPU run transformers' own
forward.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vxl.llm.attention import through_step
from vxl.llm.beacon import hooked_by_others, note
from vxl.llm.kernels import usable
from vxl.llm.lora import LoRALinear
from vxl.llm.step import New, Step

if TYPE_CHECKING:
    from vxl.llm.replay import Tail

KNOWN = ("Qwen2Model", "Qwen3Model", "LlamaModel")
"""Bodies whose layers are norm, attention, norm, gated SiLU."""


def suits(body: Any, embeds_BTD: Tensor) -> bool:
    """Whether a body's layers can be run here."""
    if not usable(embeds_BTD) or type(body).__name__ not in KNOWN:
        return False
    if not hasattr(body, "vxl_plain"):
        scale = getattr(body.rotary_emb, "attention_scaling", 1.0)  # yarn's, which their rotation applies
        body.vxl_plain = all(map(plain, body.layers)) and body.config.hidden_act == "silu" and scale == 1.0
    return body.vxl_plain


def plain(layer: Any) -> bool:
    """Whether a layer's projections are linear layers on one device, with LoRA or not, and nothing hooks in
    but beacons, in projections or not."""
    attention, mlp = layer.self_attn, layer.mlp
    linear = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    linear += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    hooked = any(map(hooked_by_others, layer.modules()))
    return not hooked and all(
        type(module) in (nn.Linear, LoRALinear) and type(module.weight) is nn.Parameter for module in linear
    )


def run(body: Any, embeds_BTD: Tensor, step: Step, tail: "Tail | None" = None) -> Tensor:
    """hidden_BTD after the final norm; see `Decoder.forward`.

    Args:
        body: The model of transformers, without its output layer.
        embeds_BTD: What goes in.
        step: The pass.
        tail: Where a captured step puts its token, instead of into `step.new`.
    """
    from vxl.llm.kernels.pointwise import rms_norm, silu_times, turned

    note(step.beacons)
    half = step.cos_BTH.shape[-1] // 2
    cos, sin = (x[..., :half].to(embeds_BTD.dtype).contiguous() for x in (step.cos_BTH, step.sin_BTH))
    total, add = embeds_BTD, None
    for number, layer in enumerate(body.layers):
        norm, attention, mlp = layer.input_layernorm, layer.self_attn, layer.mlp
        normed, total = rms_norm(total, add, norm.weight, norm.variance_epsilon)
        query, key, value = (
            project(normed).unflatten(-1, (-1, 2 * half))
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query = rms_norm(query, None, attention.q_norm.weight, attention.q_norm.variance_epsilon)[0]
            key = rms_norm(key, None, attention.k_norm.weight, attention.k_norm.variance_epsilon)[0]
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        if tail is not None:
            out = tail.attend(number, query, key, value, cos, sin, attention.scaling)
        else:
            rotated = turned(key, cos, sin)
            if step.new is not None:
                step.new[number] = New(key, value, rotated if step.memo else None)
            query = turned(query, cos, sin, out=query)
            out = through_step(number, query, rotated, value, attention.scaling, step)
        add = attention.o_proj(out.flatten(2))
        norm = layer.post_attention_layernorm
        normed, total = rms_norm(total, add, norm.weight, norm.variance_epsilon)
        add = mlp.down_proj(silu_times(mlp.gate_proj(normed), mlp.up_proj(normed)))
    return rms_norm(total, add, body.norm.weight, body.norm.variance_epsilon)[0]
