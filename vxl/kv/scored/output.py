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
    weight_MHD = at_least_single(output_weights(llm.causal_lm, entries.layer)).to(value_BNSH.dtype)
    heads = []
    for value_BSH, weight_RHD in zip(
        value_BNSH.unbind(1), weight_MHD.unflatten(0, (value_BNSH.shape[1], -1)), strict=True
    ):
        for weight_HD in weight_RHD:
            tiles = [(x @ weight_HD).norm(p=order, dim=-1) for x in value_BSH.split(TILE, dim=1)]
            heads.append(torch.cat(tiles, dim=1))
    return torch.stack(heads, dim=1).unflatten(1, (value_BNSH.shape[1], -1)).transpose(2, 3)
