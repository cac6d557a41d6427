"""Pieces of a sequence whose rows have different lengths: joined, cut and told apart from padding."""

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece
from vxl.sequence.rows import Rows, gather


def real_tokens(piece: Piece) -> Tensor:
    """bool [B, T]: everything but padding; in the host's memory, if it is known there."""
    if piece.valid_BT is not None:
        return piece.valid_BT
    return (piece.layout if piece.host is None else piece.host).real_BT


def rest_of(piece: Piece, counts: Sequence[int]) -> Piece | None:
    """What of a piece is left when of each row so many tokens are taken; None if nothing is."""
    real_BT = real_tokens(piece)
    taken_B1 = torch.tensor(counts, device=real_BT.device)[:, None]
    left_BT = real_BT & (torch.arange(real_BT.shape[1], device=real_BT.device) >= taken_B1)
    if not left_BT.any():
        return None
    first = min(counts)
    return (
        piece.part(first, piece.layout.shape[1]) if left_BT[:, first:].all() else tokens_where(piece, left_BT)
    )


def concatenated(pieces: Sequence[Piece]) -> Piece:
    """Pieces one behind the other, padding only at the end."""
    if len(pieces) == 1:
        return pieces[0]
    hosts = [piece.host for piece in pieces if piece.host is not None]
    whole = Piece(
        torch.cat([piece.embeds_BTD for piece in pieces], dim=1),
        concatenated_layout([piece.layout for piece in pieces]),
        host=concatenated_layout(hosts) if len(hosts) == len(pieces) else None,
    )
    real_BT = torch.cat([real_tokens(piece) for piece in pieces], dim=1)
    return whole if bool(real_BT.all()) else tokens_where(whole, real_BT)


def concatenated_layout(layouts: Sequence[Layout]) -> Layout:
    """Layouts one behind the other."""
    return Layout(**{f.name: torch.cat([getattr(x, f.name) for x in layouts], dim=1) for f in fields(Layout)})


def tokens_where(piece: Piece, kept_BT: Tensor) -> Piece:
    """What is kept of each row, padded on the right."""
    nothing_BT = torch.zeros_like(piece.layout.document_BT, dtype=torch.int64)
    kept_BT = kept_BT.to(nothing_BT.device)
    rows = gather(Rows(piece.embeds_BTD, nothing_BT, nothing_BT, piece.layout), kept_BT)
    return Piece(rows.embeds_BTD, rows.layout, rows.layout.real_BT)
