"""Summary tokens written out by hand: windows one after the other, plain matrices, nothing kept but what is
specified."""

from typing import Any

import torch
from torch import Tensor

from vxl.data.batch.encoded import Encoded
from vxl.llm.decoder import Decoder
from vxl.sequence.layout import Kind

Memory = list[list[tuple[Tensor, Tensor]]]
"""For each layer the (un-rotated key, value) of each kept token, both [heads, width]."""


def windows(encoded: Encoded, groups: int, ratio: int) -> list[list[tuple[int | None, bool]]]:
    """What goes through the model at once: (column, or None for a beacon; whether it is kept)."""
    passes: list[list[tuple[int | None, bool]]] = []
    window: tuple[int, int] | None = None
    count = 0
    for column, (kind, item, group) in enumerate(zip(encoded.kind, encoded.item, encoded.group, strict=True)):
        here = None if item < 0 else (item, (group - encoded.group[encoded.item.index(item)]) // groups)
        if not passes or here != window:
            if count % ratio:
                passes[-1].append((None, True))
            passes.append([])
            window, count = here, 0
        passes[-1].append((column, kind != Kind.VISUAL))
        if kind == Kind.VISUAL:
            count += 1
            if count % ratio == 0:
                passes[-1].append((None, True))
    if count % ratio:
        passes[-1].append((None, True))
    return passes


def logits(llm: Decoder, embeds_TD: Tensor, encoded: Encoded, groups: int, ratio: int) -> Tensor:
    """Scores at every token of the sequence, [T, vocabulary]."""
    memory: Memory = [[] for _ in range(llm.layers)]
    assert llm.beacon is not None
    found = embeds_TD.new_zeros(len(encoded), llm.vocab)
    for tokens in windows(encoded, groups, ratio):
        x = [llm.beacon[0] if column is None else embeds_TD[column] for column, _ in tokens]
        hidden, new = one_pass(llm, torch.stack(x), [column is None for column, _ in tokens], memory)
        for place, (column, kept) in enumerate(tokens):
            if column is not None:
                found[column] = llm.logits(hidden[place])
            if kept:
                for layer in range(llm.layers):
                    memory[layer].append(new[layer][place])
    return found


def one_pass(llm: Decoder, x: Tensor, beacons: list[bool], memory: Memory) -> tuple[Tensor, Memory]:
    """Hidden states of the new tokens, and their keys and values."""
    body: Any = llm.causal_lm.model
    config = llm.causal_lm.config
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    new: Memory = []

    def project(layer: Any, inputs: Tensor) -> Tensor:
        rows = []
        for row, beacon in zip(inputs, beacons, strict=True):
            own = layer.beacon if beacon and hasattr(layer, "beacon") else layer
            rows.append(own.weight @ row + (0 if own.bias is None else own.bias))
        return torch.stack(rows)

    for number, block in enumerate(body.layers):
        attention, mlp = block.self_attn, block.mlp
        normed = norm(x, block.input_layernorm.weight, config.rms_norm_eps)
        query, key, value = (
            project(layer, normed).unflatten(1, (-1, width))
            for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query = norm(query, attention.q_norm.weight, config.rms_norm_eps)
            key = norm(key, attention.k_norm.weight, config.rms_norm_eps)
        new.append(list(zip(key, value, strict=True)))
        both = [*memory[number], *new[-1]]
        keys = torch.stack([turn(k, i, llm) for i, (k, _) in enumerate(both)])
        values = torch.stack([v for _, v in both])
        out = []
        for i, q in enumerate(query):
            at = len(memory[number]) + i
            q = turn(q, at, llm)
            per_head = []
            for head in range(heads):
                scores = keys[: at + 1, head * shared // heads] @ q[head] / width**0.5
                per_head.append(scores.softmax(0) @ values[: at + 1, head * shared // heads])
            out.append(torch.cat(per_head))
        x = x + project(attention.o_proj, torch.stack(out))
        normed = norm(x, block.post_attention_layernorm.weight, config.rms_norm_eps)
        gate = torch.nn.functional.silu(normed @ mlp.gate_proj.weight.T)
        x = x + project(mlp.down_proj, gate * project(mlp.up_proj, normed))
    return norm(x, body.norm.weight, config.rms_norm_eps), new


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root mean square norm of the last axis."""
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def turn(x: Tensor, position: int, llm: Decoder) -> Tensor:
    """Heads [N, H] rotated to a position, pair by pair."""
    half = x.shape[-1] // 2
    angle = position / llm.causal_lm.config.rope_parameters["rope_theta"] ** (torch.arange(half) / half)
    first, second = x[:, :half], x[:, half:]
    return torch.cat(
        [first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], 1
    ).to(x.dtype)
