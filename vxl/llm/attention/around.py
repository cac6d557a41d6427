"""What stands around a layer's attention: the projection behind it, and what it is given."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vxl.precision import at_least_single


def output_weights(causal_lm: Any, layer: int) -> Tensor:
    """What a layer does with what its query heads read, weights [M, H, D]: head m adds x_H @ weights[m].

    Found by running the projection on unit vectors, so that low-rank updates and quantised weights count; in
    the precision of the embeddings, since quantised weights have none of their own.
    """
    projection, heads = causal_lm.model.layers[layer].self_attn.o_proj, causal_lm.config.num_attention_heads
    table, width = causal_lm.get_input_embeddings().weight, projection.in_features
    with torch.no_grad():
        unit = torch.eye(width, dtype=table.dtype, device=table.device)
        whole = projection(unit) - projection(torch.zeros_like(unit[:1]))
    return whole.unflatten(0, (heads, width // heads))


@contextmanager
def lengths_of_inputs(causal_lm: Any) -> Generator[dict[int, Tensor]]:
    """How long the vectors are that each layer's attention is given in a pass of this thread, [B, T]: filled
    in by the pass. With it, layers run as transformers has them."""
    lengths: dict[int, Tensor] = {}
    thread = threading.get_ident()
    body = causal_lm.model

    def note(layer: int, normed_BTD: Tensor) -> None:
        if threading.get_ident() == thread:
            lengths[layer] = at_least_single(normed_BTD).norm(dim=-1)

    hooks = [
        layer.input_layernorm.register_forward_hook(lambda _module, _inputs, out, n=n: note(n, out))
        for n, layer in enumerate(body.layers)
    ]
    plain, body.vxl_plain = getattr(body, "vxl_plain", None), False
    try:
        yield lengths
    finally:
        for hook in hooks:
            hook.remove()
        if plain is None:
            del body.vxl_plain
        else:
            body.vxl_plain = plain
