"""Rounds of a batch: the next segment of every row, run through the model in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from torch import Tensor

from vxl.kv.vst import WindowSegment
from vxl.sequence.layout import Kind, Layout


@dataclass(frozen=True, eq=False)
class Round:
    """One pass: L tokens of each row, beacons included."""

    column_BL: np.ndarray
    """The token of the sequence at each place; at a beacon the last visual token before it."""
    beacon_BL: np.ndarray
    real_BL: np.ndarray
    """False at padding."""
    stays_BL: np.ndarray
    """What of it stays in the cache."""


def rounds_of(plans: Sequence[Sequence[WindowSegment]]) -> list[Round]:
    """Rounds in which every row has its next segment, as long as it has one."""
    return [
        together([plan[number] if number < len(plan) else None for plan in plans])
        for number in range(max(len(plan) for plan in plans))
    ]


def together(segments: Sequence[WindowSegment | None]) -> Round:
    """The round of one segment of each row; None for rows that are done."""
    rows = []
    for segment in segments:
        if segment is None:
            rows.append((np.empty(0, dtype=np.int64), np.empty(0, dtype=bool), np.empty(0, dtype=bool)))
            continue
        columns = np.arange(segment.start, segment.stop)
        column_L = np.insert(columns, segment.after - segment.start + 1, segment.after)
        beacon_L = np.zeros(len(column_L), dtype=bool)
        beacon_L[segment.after - segment.start + 1 + np.arange(len(segment.after))] = True
        stays_L = segment.stays[column_L - segment.start] | beacon_L
        rows.append((column_L, beacon_L, stays_L))
    longest = max(len(column_L) for column_L, _, _ in rows)
    shape = (len(rows), longest)
    round_ = Round(np.zeros(shape, dtype=np.int64), *(np.zeros(shape, dtype=bool) for _ in range(3)))
    for row, (column_L, beacon_L, stays_L) in enumerate(rows):
        place = (row, slice(len(column_L)))
        round_.column_BL[place], round_.beacon_BL[place], round_.stays_BL[place] = column_L, beacon_L, stays_L
        round_.real_BL[place] = True
    return round_


def work_of(rounds: Sequence[Round]) -> tuple[int, int]:
    """(tokens that go through the model, pairs of a token and a key that it sees) of all rows' rounds.

    A token sees what stayed of its row's earlier rounds, and its own round up to itself.
    """
    tokens, pairs, entries_B = 0, 0, np.zeros(len(rounds[0].real_BL) if rounds else 0, dtype=np.int64)
    for round_ in rounds:
        own_B = round_.real_BL.sum(axis=1)
        tokens += int(own_B.sum())
        pairs += int((own_B * entries_B + own_B * (own_B + 1) // 2).sum())
        entries_B += (round_.real_BL & round_.stays_BL).sum(axis=1)
    return tokens, pairs


def layout_of_round(layout: Layout, column_BL: Tensor, beacon_BL: Tensor, real_BL: Tensor) -> Layout:
    """What stands at each place of a round."""
    tensors = {field.name: getattr(layout, field.name).gather(1, column_BL) for field in fields(Layout)}
    tensors["kind_BT"] = tensors["kind_BT"].masked_fill(beacon_BL, int(Kind.BEACON))
    tensors["document_BT"] = tensors["document_BT"].masked_fill(~real_BL, -1)
    return Layout(**tensors)
