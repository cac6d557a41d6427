"""Numbers in eight or four bits: codes with scales, by vector, by entry, or by channel over runs of entries.

Letters: B rows · N key-value heads · S entries · H head width · R runs of entries · C groups of channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from typing_extensions import override

from vxl.llm.block import take
from vxl.precision import at_least_single

LARGEST = 127
"""Of eight bits with a sign."""
GROUP = 32
"""Channels of a value that share a scale, as published; all of them where they are no multiple."""


class Codes(ABC):
    """Keys or values of a block, [B, N, S, H], in codes; immutable."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int, int]:
        """B, N, S, H."""

    @abstractmethod
    def decode(self, dtype: torch.dtype) -> Tensor:
        """The numbers."""

    @abstractmethod
    def taken(self, order_BNS: Tensor, valid_BNS: Tensor | None) -> Self:
        """Some entries; each goes on to be decoded as before. Those that do not exist may become anything."""

    @classmethod
    @abstractmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Entries of several, one behind the other."""

    @property
    def shared_bytes(self) -> int:
        """Of what entries share, in each row."""
        return 0

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor moved."""
        return replace(self, **{name: move(tensor) for name, tensor in self.named()})  # ty: ignore[invalid-argument-type]

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors, by the names of their fields."""
        for field in fields(self):  # ty: ignore[invalid-argument-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value


@dataclass(frozen=True, eq=False)
class VectorCodes(Codes):
    """Eight bits, with one scale for each vector: nothing else is needed to decode it."""

    codes_BNSH: Tensor
    """int8."""
    scale_BNS1: Tensor
    """float32."""

    @classmethod
    def of(cls, x_BNSH: Tensor) -> "VectorCodes":
        """Numbers, coded; zero is zero. `decode` gives back what differs by half a scale at most, in exact
        arithmetic."""
        scale = x_BNSH.abs().amax(dim=-1, keepdim=True).float() / LARGEST
        scale = scale.masked_fill(scale == 0, 1.0)
        return cls((x_BNSH.float() / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale)

    @property
    @override
    def shape(self) -> tuple[int, int, int, int]:
        rows, heads, entries, width = self.codes_BNSH.shape
        return rows, heads, entries, width

    @override
    def decode(self, dtype: torch.dtype) -> Tensor:
        return (self.codes_BNSH.float() * self.scale_BNS1).to(dtype)

    @override
    def taken(self, order_BNS: Tensor, valid_BNS: Tensor | None) -> "VectorCodes":
        return VectorCodes(take(self.codes_BNSH, order_BNS), take(self.scale_BNS1, order_BNS))

    @classmethod
    @override
    def joined(cls, parts: "Sequence[VectorCodes]") -> "VectorCodes":
        return cls(
            torch.cat([part.codes_BNSH for part in parts], dim=2),
            torch.cat([part.scale_BNS1 for part in parts], dim=2),
        )


@dataclass(frozen=True, eq=False)
class EntryCodes(Codes):
    """Four bits, two to a byte, with a scale and a lowest value for each group of an entry's channels (KIVI's
    values)."""

    packed_BNSX: Tensor
    """uint8, X = H / 2."""
    scale_BNSC: Tensor
    low_BNSC: Tensor

    @classmethod
    def of(cls, x_BNSH: Tensor) -> "EntryCodes":
        """Numbers, coded."""
        x_BNSCU = x_BNSH.unflatten(-1, (groups_of(x_BNSH.shape[-1]), -1))
        codes, scale, low = affine(x_BNSCU, dim=-1, bits=4)
        return cls(packed(codes.flatten(-2)), scale[..., 0], low[..., 0])

    @property
    @override
    def shape(self) -> tuple[int, int, int, int]:
        return unpacked_shape(self.packed_BNSX)

    @override
    def decode(self, dtype: torch.dtype) -> Tensor:
        codes = unpacked(self.packed_BNSX).unflatten(-1, (self.scale_BNSC.shape[-1], -1))
        scale, low = at_least_single(self.scale_BNSC), at_least_single(self.low_BNSC)
        return torch.addcmul(low[..., None], codes.to(scale.dtype), scale[..., None]).flatten(-2).to(dtype)

    @override
    def taken(self, order_BNS: Tensor, valid_BNS: Tensor | None) -> "EntryCodes":
        return EntryCodes(*(take(tensor, order_BNS) for _, tensor in self.named()))

    @classmethod
    @override
    def joined(cls, parts: "Sequence[EntryCodes]") -> "EntryCodes":
        every = zip(*([tensor for _, tensor in part.named()] for part in parts), strict=True)
        return cls(*(torch.cat(tensors, dim=2) for tensors in every))


@dataclass(frozen=True, eq=False)
class ChannelCodes(Codes):
    """Four bits, two to a byte, with a scale and a lowest value for each channel of a run of entries (KIVI's
    keys, whose channels differ more than their entries do).

    An entry that outlives others of its run keeps the run's scales, so that evicting changes no number; runs
    that nothing is left of go.
    """

    packed_BNSX: Tensor
    """uint8, X = H / 2."""
    scale_BNRH: Tensor
    low_BNRH: Tensor
    run_BNS: Tensor | None = None
    """Each entry's run, int32; None = as many consecutive entries to each run."""

    @classmethod
    def of(cls, x_BNSH: Tensor, run: int, valid_BNS: Tensor | None = None) -> "ChannelCodes":
        """Numbers, coded, in runs of so many entries; S is a multiple. Entries that do not exist have no
        part in their run's range."""
        x_BNRUH = x_BNSH.unflatten(2, (-1, run))
        valid = None if valid_BNS is None else valid_BNS.unflatten(2, (-1, run))[..., None]
        codes, scale, low = affine(x_BNRUH, dim=3, bits=4, valid=valid)
        return cls(packed(codes.flatten(2, 3)), scale[:, :, :, 0], low[:, :, :, 0])

    @property
    @override
    def shape(self) -> tuple[int, int, int, int]:
        return unpacked_shape(self.packed_BNSX)

    @property
    def runs(self) -> int:
        """R."""
        return self.scale_BNRH.shape[2]

    @property
    @override
    def shared_bytes(self) -> int:
        return (self.scale_BNRH.nbytes + self.low_BNRH.nbytes) // len(self.scale_BNRH)

    @override
    def decode(self, dtype: torch.dtype) -> Tensor:
        codes, scale, low = unpacked(self.packed_BNSX), self.scale_BNRH, self.low_BNRH
        scale, low = at_least_single(scale), at_least_single(low)
        if self.run_BNS is None:
            codes = codes.unflatten(2, (self.runs, -1)).to(scale.dtype)
            return torch.addcmul(low[:, :, :, None], codes, scale[:, :, :, None]).flatten(2, 3).to(dtype)
        order_BNS = self.run_BNS.long()
        return torch.addcmul(take(low, order_BNS), codes.to(scale.dtype), take(scale, order_BNS)).to(dtype)

    @override
    def taken(self, order_BNS: Tensor, valid_BNS: Tensor | None) -> "ChannelCodes":
        run_BNS = take(self.run_of_each(), order_BNS)
        there_BNS = torch.ones_like(run_BNS, dtype=torch.bool) if valid_BNS is None else valid_BNS
        rows, heads = (max(run_BNS.shape[n], there_BNS.shape[n]) for n in (0, 1))
        run_BNS, there_BNS = run_BNS.expand(rows, heads, -1), there_BNS.expand(rows, heads, -1)
        # One run more takes what does not exist.
        at_BNS = torch.where(there_BNS, run_BNS, self.runs).long()
        used_BNR = torch.zeros(rows, heads, self.runs + 1, dtype=torch.bool, device=run_BNS.device)
        used_BNR = used_BNR.scatter(2, at_BNS, value=True)[..., :-1]
        if len(self.scale_BNRH) < rows:
            used_BNR = used_BNR.any(dim=0, keepdim=True)
        number_BNR = (used_BNR.long().cumsum(dim=-1) - 1).clamp(min=0)
        places = torch.argsort((~used_BNR).to(torch.uint8), dim=-1, stable=True)
        places = places[..., : max(1, int(used_BNR.sum(dim=-1).max()))]
        return ChannelCodes(
            take(self.packed_BNSX, order_BNS),
            take(self.scale_BNRH, places),
            take(self.low_BNRH, places),
            take(number_BNR, run_BNS.long()).to(torch.int32),
        )

    @classmethod
    @override
    def joined(cls, parts: "Sequence[ChannelCodes]") -> "ChannelCodes":
        def wide(tensors: list[Tensor]) -> Tensor:
            rows, heads = (max(tensor.shape[n] for tensor in tensors) for n in (0, 1))
            return torch.cat([x.expand(rows, heads, *x.shape[2:]) for x in tensors], dim=2)

        run_BNS, sizes = None, {part.shape[2] // part.runs for part in parts}
        if len(sizes) > 1 or any(part.run_BNS is not None for part in parts):
            firsts = torch.tensor([0, *(part.runs for part in parts)]).cumsum(dim=0).tolist()
            run_BNS = wide([part.run_of_each() + n for part, n in zip(parts, firsts, strict=False)])
        return cls(
            torch.cat([part.packed_BNSX for part in parts], dim=2),
            wide([part.scale_BNRH for part in parts]),
            wide([part.low_BNRH for part in parts]),
            run_BNS,
        )

    def run_of_each(self) -> Tensor:
        """Each entry's run, int32 [B or 1, N or 1, S]."""
        if self.run_BNS is not None:
            return self.run_BNS
        number_R = torch.arange(self.runs, dtype=torch.int32, device=self.packed_BNSX.device)
        return number_R.repeat_interleave(self.shape[2] // self.runs)[None, None]


def groups_of(width: int) -> int:
    """Groups of a value's channels that have scales of their own."""
    return width // GROUP if width % GROUP == 0 else 1


def affine(x: Tensor, dim: int, bits: int, valid: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Codes from 0 to 2^bits - 1 over the range that numbers have along an axis (KIVI, arXiv 2402.02750,
    section 3; jy-yuan/KIVI, quant/new_pack.py): code = round((x - low) / scale), x' = code * scale + low.

    The published code divides by zero where all numbers of a range are equal; here their codes are 0. Codes
    are of the scale and the lowest value as they are held, in float16 for numbers in half precision.

    Args:
        x: The numbers.
        dim: The axis that shares a range.
        bits: Of a code.
        valid: Numbers that exist; None = all. The others' codes may be anything.

    Returns:
        The codes, uint8, the scales, and the lowest values, whose axis `dim` is 1.
    """
    x, kind = at_least_single(x), torch.float16 if x.dtype.itemsize == 2 else x.dtype
    low = x if valid is None else x.masked_fill(~valid, torch.inf)
    high = x if valid is None else x.masked_fill(~valid, -torch.inf)
    low, high = low.amin(dim=dim, keepdim=True), high.amax(dim=dim, keepdim=True)
    if valid is not None:
        some = valid.any(dim=dim, keepdim=True)
        low, high = low.where(some, 0.0), high.where(some, 0.0)
    limit, most = torch.finfo(kind).max, 2**bits - 1
    scale = ((high - low) / most).clamp(max=limit).to(kind)
    low = low.clamp(-limit, limit).to(kind)
    by, start = at_least_single(scale), at_least_single(low)
    codes = ((x - start) / by.masked_fill(by == 0, 1.0)).clamp(0, most).round()
    return codes.masked_fill(by == 0, 0.0).to(torch.uint8), scale, low


def packed(codes: Tensor) -> Tensor:
    """Codes of four bits, two to a byte along the last axis: the first half in the lower bits."""
    first, second = codes.chunk(2, dim=-1)
    return first | (second << 4)


def unpacked_shape(packed_BNSX: Tensor) -> tuple[int, int, int, int]:
    """B, N, S, H of codes that lie two to a byte."""
    rows, heads, entries, half = packed_BNSX.shape
    return rows, heads, entries, 2 * half


def unpacked(both: Tensor) -> Tensor:
    """What `packed` was given."""
    return torch.cat((both & 15, both >> 4), dim=-1)
