"""Attention of one process's columns over those of its whole context group.

All of a decoder but attention works token by token, so only attention talks: each layer gathers the keys and
values of the group, and queries stay where they are. With grouped heads keys and values are small (a seventh
of the queries' width in Qwen2.5-7B), so gathering them costs little beside the attention over them. In the
backward pass their gradients are summed and scattered back. No mask over the sequence exists, as in one
process: documents and windows are cut where a process's stretches are.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vxl.distributed import gather_parts
from vxl.llm.attention.continuation import attend_causal
from vxl.llm.attention.sparse import attend_sparse
from vxl.llm.attention.split import Split
from vxl.llm.attention.step import Span, Step, runs
from vxl.llm.attention.windows import Seen, Sight, Window, attend_windows, seen_by


def attend_across(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step) -> Tensor:
    """Attention of this process's tokens over the whole sequence, without a past.

    Args:
        query: [B, query heads, L, H], rotated.
        key: [B, N, L, H], rotated.
        value: [B, N, L, H].
        scaling: Factor on the scores.
        step: The pass; its documents and windows are those of the whole sequence.

    Returns:
        [B, query heads, L, H].
    """
    split = step.split
    assert split is not None
    keys, values = split.in_order(gather_parts(torch.stack((key, value)), split.group)).unbind()
    if step.windows is not None and query.is_cuda and query.requires_grad:
        return attend_sparse(query, keys, values, scaling, step, compiled=True)
    if step.windows is not None:
        if "across" not in step.scratch:
            windows = [step.windows.of(row) for row in range(len(query))]
            step.scratch["across"] = [own_sights(window, split, query.device) for window in windows]
        parts = [
            attend_windows(*(x[row, None] for x in (query, keys, values)), scaling, sights)
            for row, sights in enumerate(step.scratch["across"])
        ]
        return torch.cat(parts)
    if step.spans is None:
        parts = []
        for number, start in enumerate(split.starts):
            own = query[:, :, number * split.stretch : (number + 1) * split.stretch]
            stop = start + split.stretch
            parts.append(attend_causal(own, keys[:, :, :stop], values[:, :, :stop], scaling))
        return torch.cat(parts, dim=2)
    outputs: list[list[Tensor]] = [[] for _ in range(len(query))]
    for row, own, first, stop in own_runs(step.spans, len(query), split):
        k, v = (x[row, None, :, first:stop] for x in (keys, values))
        outputs[row].append(attend_causal(query[row, None, :, own], k, v, scaling))
    return torch.cat([torch.cat(parts, dim=2) for parts in outputs])


def own_runs(spans: tuple[Span, ...], rows: int, split: Split) -> list[tuple[int, slice, int, int]]:
    """This process's parts of documents and of the padding between them, in order: (row, which of its tokens,
    first key, behind the last key).

    Padding attends as well, to itself: every process must use the keys of the others, whatever it has.
    """
    parts = []
    for span, _ in runs(spans, rows, split.width):
        for number, start in enumerate(split.starts):
            first, stop = max(span.start, start), min(span.stop, start + split.stretch)
            if first < stop:
                shift = number * split.stretch - start
                parts.append((span.row, slice(first + shift, stop + shift), span.start, stop))
    return sorted(parts, key=lambda part: (part[0], part[1].start))


def own_sights(window: Window, split: Split, device: torch.device) -> list[Seen]:
    """What this process's tokens see of the whole sequence: each of them is in one sight.

    Args:
        window: Of all tokens of a row.
        split: Which of them are this process's.
        device: Where attention runs.
    """
    columns_L = split.columns_L.numpy()
    place_T = np.full(split.width, -1)
    place_T[columns_L] = np.arange(len(columns_L))
    behind = Sight(np.arange(split.tokens, split.width), split.tokens, split.tokens)
    sights = []
    for sight in (*window.sights, behind):
        own_Q = sight.tokens_Q[place_T[sight.tokens_Q] >= 0]
        if len(own_Q):
            sights.append(replace(sight, tokens_Q=own_Q))
    columns_1S = torch.arange(split.width, device=device)[None]
    moved = []
    for sight, seen in zip(
        sights, seen_by(replace(window, sights=tuple(sights)), columns_1S, None, split.width), strict=True
    ):
        place_Q = place_T[sight.tokens_Q]  # neighbours stay neighbours: stretches meet where columns do
        tokens_Q = None if seen.tokens_Q is None else torch.from_numpy(place_Q).to(device)
        moved.append(replace(seen, tokens_Q=tokens_Q, first=int(place_Q[0]), stop=int(place_Q[-1]) + 1))
    return moved
