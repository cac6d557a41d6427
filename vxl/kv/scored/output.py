"""What entries' values do to the output of their layer, as every query head writes it."""

import torch
from torch import Tensor

from vxl.kv.scored.entries import Entries
from vxl.llm.attention.around import output_weights
from vxl.llm.decoder import Decoder
from vxl.precision import at_least_single

TILE = 4096
"""Entries whose outputs are computed at once."""


def moved_output(llm: Decoder, entries: Entries, order: int) -> Tensor:
    """||W_o,h v_e|| of each value behind each query head's part of the output projection, [B, N, S, R].

    Args:
        llm: Whose projection.
        entries: A layer's entries.
        order: Of the norm: 1 or 2.
    """
    value_BNSH = entries.values_BNSH
    weight_MHD = output_weights(llm.causal_lm, entries.layer)
    if not exact_in_half(entries, weight_MHD):
        weight_MHD = at_least_single(weight_MHD).to(value_BNSH.dtype)
    heads = []
    for value_BSH, weight_RHD in zip(
        value_BNSH.unbind(1), weight_MHD.unflatten(0, (value_BNSH.shape[1], -1)), strict=True
    ):
        for weight_HD in weight_RHD:
            tiles = [product(x, weight_HD).norm(p=order, dim=-1) for x in value_BSH.split(TILE, dim=1)]
            heads.append(torch.cat(tiles, dim=1))
    return torch.stack(heads, dim=1).unflatten(1, (value_BNSH.shape[1], -1)).transpose(2, 3)


def exact_in_half(entries: Entries, weight: Tensor) -> bool:
    """Whether values and weights are numbers of one half precision on a GPU: their products are exact in
    float32 then, and so a product of matrices is that summed in float32, without float32 inputs."""
    dtype = entries.cache.layers[entries.layer][0].dtype
    return weight.is_cuda and weight.dtype == dtype and dtype in (torch.float16, torch.bfloat16)


def product(value_BSH: Tensor, weight_HD: Tensor) -> Tensor:
    """What values give behind weights, float32 at least, [B, S, D]."""
    if weight_HD.dtype == value_BSH.dtype:
        return value_BSH @ weight_HD
    rows = value_BSH.to(weight_HD.dtype).flatten(0, 1)
    return torch.mm(rows, weight_HD, out_dtype=torch.float32).unflatten(0, value_BSH.shape[:2])
