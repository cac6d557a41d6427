"""What a layer's attention does with the values of each head: its output projection, as a matrix."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vxl.llm.decoder import Decoder


def output_weights(llm: "Decoder", layer: int) -> Tensor:
    """The output projection of a layer, by query head: [M, H, D], so that head m adds weight_MH @ it.

    Read by running the projection on the unit vectors, so that low-rank updates and quantised weights count.
    """
    projection = llm.causal_lm.model.layers[layer].self_attn.o_proj
    heads = llm.causal_lm.config.num_attention_heads
    weight = next(projection.parameters())
    dtype = weight.dtype if weight.dtype.is_floating_point else torch.get_default_dtype()
    width = projection.in_features
    with torch.no_grad():
        unit = torch.eye(width, dtype=dtype, device=weight.device)
        whole = projection(unit) - projection(torch.zeros_like(unit[:1]))
    return whole.unflatten(0, (heads, width // heads))
