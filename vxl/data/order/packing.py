"""Several short samples in one row."""

from collections.abc import Sequence

import numpy as np


def pack_rows(costs: Sequence[int] | np.ndarray, max_tokens: int) -> list[list[int]]:
    """First-fit decreasing bin packing; ties go by position, so the same costs give the same rows.

    Args:
        costs: Tokens of each sample.
        max_tokens: Tokens that a row may hold. A sample that costs more gets a row of its own.

    Returns:
        Rows of positions in `costs`, each position once.
    """
    costs_N = np.asarray(costs, dtype=np.int64)
    order = np.argsort(-costs_N, kind="stable")
    rows: list[list[int]] = []
    room = np.zeros(len(costs_N), dtype=np.int64)
    for position in order.tolist():
        cost = costs_N[position]
        # argmax of a boolean is its first True, and 0 where there is none: hence the second look.
        row = int(np.argmax(room[: len(rows)] >= cost)) if rows else 0
        if not rows or room[row] < cost:
            row = len(rows)
            rows.append([])
            room[row] = max_tokens
        rows[row].append(position)
        room[row] -= cost
    return rows
