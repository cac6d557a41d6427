"""Which entries come first: the best scores, and what is protected before them; a row by one program.

No sort: the score that just stays is found bit by bit, and a list of places in order comes out, or a mask.

Letters: R rows (of batch, layers and heads) · S entries held · V entries that stay.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vxl.llm.kernels import LONGEST


@triton.jit(do_not_specialize=["entries"])
def _best(score, among, count, keep, entries, SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    score += row * entries
    among += row * entries
    keep += row * entries
    stay = tl.load(count + row)
    n = tl.arange(0, SIZE)
    # The highest number that at least `wanted` scores reach, bit by bit.
    least = tl.full([], 0, tl.int64)
    for step in range(32):
        bit = tl.full([], 1, tl.int64) << (31 - step)
        reach = tl.zeros([SIZE], tl.int32)
        for start in range(0, entries, SIZE):
            there = start + n < entries
            number = _ordered(tl.load(score + start + n, mask=there, other=float("-inf")))
            reach += (there & (number >= (least | bit))).to(tl.int32)
        least = tl.where(tl.sum(reach, 0) >= stay, least | bit, least)
    above = tl.zeros([SIZE], tl.int32)
    for start in range(0, entries, SIZE):
        there = start + n < entries
        number = _ordered(tl.load(score + start + n, mask=there, other=float("-inf")))
        above += (there & (number > least)).to(tl.int32)
    room = stay - tl.sum(above, 0)
    for start in range(0, entries, SIZE):
        there = start + n < entries
        number = _ordered(tl.load(score + start + n, mask=there, other=float("-inf")))
        equal = (there & (number == least)).to(tl.int32)
        stays = (number > least) | ((equal > 0) & (tl.cumsum(equal, 0) <= room))
        room -= tl.sum(equal, 0)
        stays = stays & (tl.load(among + start + n, mask=there, other=0) != 0)
        tl.store(keep + start + n, stays.to(tl.int8), mask=there)


@triton.jit
def _ordered(score):
    """Whole numbers from 0 to 2^32 - 1 in the order of floating-point numbers; of NaN the highest."""
    score = tl.where(score == 0.0, 0.0, score)
    bits = score.to(tl.int32, bitcast=True)
    number = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) + 2147483648
    return tl.where(score == score, number, 4294967295)


def best(score_RS: Tensor, among_RS: Tensor, count_R: Tensor) -> Tensor:
    """Which entries have the `count` highest scores of each row, bool [R, S]; ties go to the first.

    Args:
        score_RS: float32; -inf where an entry is not `among` those to choose from.
        among_RS: bool.
        count_R: int64.
    """
    score_RS, among_RS = score_RS.contiguous(), among_RS.contiguous()
    keep_RS = torch.empty_like(among_RS, dtype=torch.int8)
    size = min(4096, max(128, triton.next_power_of_2(score_RS.shape[1])))
    _best[(len(score_RS),)](
        score_RS, among_RS.view(torch.int8), count_R.contiguous(), keep_RS, score_RS.shape[1], SIZE=size,
        num_warps=8 if size > 1024 else 4,
    )  # fmt: skip
    return keep_RS.view(torch.bool)


@triton.jit(do_not_specialize=["wanted", "entries", "protected_row", "score_row", "sure_row"])
def _ranked(
    score, protected, sure, order, stay, entries, score_row, protected_row, sure_row,
    BLOCK: tl.constexpr, SURE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK)
    there = n < entries
    stays = (tl.load(protected + row * protected_row + n, mask=there, other=0) != 0) & there
    number = tl.load(score + row * score_row + n, mask=there, other=0.0)
    number = (_ordered(number) - 2147483648).to(tl.int32)
    open = there & (stays == 0)
    free = stay - tl.sum(stays.to(tl.int32), 0)
    if SURE:  # the newest of them come first
        early = open & (tl.load(sure + row * sure_row + n, mask=there, other=0) != 0)
        count = early.to(tl.int32)
        early = early & (tl.cumsum(count, 0) > tl.sum(count, 0) - free)
        stays = stays | early
        open = open & (early == 0)
        free -= tl.sum(early.to(tl.int32), 0)
    least = tl.full([], 0, tl.int64)
    for step in range(32):
        trial = least | (tl.full([], 1, tl.int64) << (31 - step))
        reach = open & (number >= (trial - 2147483648).to(tl.int32))
        least = tl.where(tl.sum(reach.to(tl.int32), 0) >= free, trial, least)
    just = (least - 2147483648).to(tl.int32)
    above = open & (number > just)
    equal = (open & (number == just)).to(tl.int32)
    room = free - tl.sum(above.to(tl.int32), 0)
    stays = stays | above | ((equal > 0) & (tl.cumsum(equal, 0) <= room))
    rank = tl.cumsum(stays.to(tl.int32), 0) - 1
    tl.store(order + row * stay + rank, n, mask=stays & (rank < stay))


def block_of(entries: int) -> int:
    """Entries that a program makes room for: one of few sizes, since each is compiled by itself."""
    return next(size for size in (512, 2048, 8192, LONGEST) if entries <= size)


def ranked(score_RS: Tensor, protected_RS: Tensor, sure_RS: Tensor | None, stay: int) -> Tensor:
    """Places of the `stay` entries of each row that stay, ascending, int32 [R, V].

    As `vxl.kv.scored.ranking.chosen` says: what is protected, the newest of the sure ones, then the highest
    scores, of equal ones the first.

    Args:
        score_RS: float32.
        protected_RS: bool.
        sure_RS: bool; None = no entry.
        stay: V; there are as many entries, and no more are protected.
    """
    rows, entries = score_RS.shape
    order = torch.empty(rows, stay, dtype=torch.int32, device=score_RS.device)
    every = (protected_RS, protected_RS if sure_RS is None else sure_RS)
    protected, sure = (mask.expand(rows, -1).view(torch.int8) for mask in every)
    block = block_of(entries)
    _ranked[(rows,)](
        score_RS, protected, sure, order, stay, entries,
        score_RS.stride(0), protected.stride(0), sure.stride(0),
        BLOCK=block, SURE=sure_RS is not None, num_warps=min(32, max(4, block // 512)),
    )  # fmt: skip
    return order


@triton.jit(do_not_specialize=["most", "entries", "index_row"])
def _seen(index, table, order, count, most, entries, index_row, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK)
    there = n < entries
    column = tl.load(index + row * index_row + n, mask=there, other=0)
    visible = there & (tl.load(table + column, mask=there, other=0) != 0)
    rank = tl.cumsum(visible.to(tl.int32), 0) - 1
    tl.store(order + row * most + rank, n, mask=visible & (rank < most))
    tl.store(count + row, tl.sum(visible.to(tl.int32), 0))


def seen_places(index_RS: Tensor, table_F: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(places [R, most] of entries whose column a table names, ascending; how many there are), int32.

    Args:
        index_RS: Columns, int64.
        table_F: bool.
        most: What no row has more of.
    """
    rows, entries = index_RS.shape
    order = torch.empty(rows, most, dtype=torch.int32, device=index_RS.device)
    count = torch.empty(rows, dtype=torch.int32, device=index_RS.device)
    block = block_of(entries)
    _seen[(rows,)](
        index_RS, table_F.view(torch.int8), order, count, most, entries, index_RS.stride(0),
        BLOCK=block, num_warps=min(32, max(4, block // 512)),
    )  # fmt: skip
    return order, count
