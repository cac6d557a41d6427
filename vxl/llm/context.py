"""A prototype of context parallelism: one long sequence spread over several processes.

Every process has a stretch of each sequence. All of a decoder but attention works token by token, so only
attention talks: each layer gathers the keys and values of all processes, and a process's queries see those at
and before their own places. With grouped heads keys and values are small (a seventh of the queries' width in
Qwen2.5-7B), so gathering them costs little beside the attention over them.

Stretches are two to a process, the n-th from the front and the n-th from the back: later queries see more
keys, and so every process has as much to do.

Not in use by `vxl.train` yet: see docs/training.md for what is missing.
"""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from vxl.errors import ConfigError
from vxl.llm.attention.continuation import attend_causal
from vxl.llm.attention.step import Step


def columns_of_rank(tokens: int, rank: int, ranks: int) -> Tensor:
    """The columns of a sequence that a process has, ascending.

    Args:
        tokens: Length of the sequence, a multiple of 2 x `ranks`.
        rank: The process, of `ranks`.
        ranks: Processes.

    Raises:
        ValueError: The sequence can't be cut like this.
    """
    if tokens % (2 * ranks):
        raise ValueError(
            f"{tokens} tokens don't make {2 * ranks} stretches; pad to a multiple of {2 * ranks}"
        )
    stretches = torch.arange(tokens).view(2 * ranks, -1)
    return torch.cat((stretches[rank], stretches[2 * ranks - 1 - rank]))


def attend_across_ranks(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, group: dist.ProcessGroup | None = None
) -> Tensor:
    """Causal attention of this process's tokens over the whole sequence.

    Args:
        query: [B, query heads, T / ranks, H] at this process's `columns_of_rank`, rotated to them.
        key: [B, N, T / ranks, H], likewise.
        value: [B, N, T / ranks, H].
        scaling: Factor on the scores.
        group: The processes; None: all.

    Returns:
        [B, query heads, T / ranks, H].
    """
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    keys, values = (in_order(GatherRanks.apply(x, group), ranks) for x in (key, value))
    stretch = query.shape[2] // 2
    out = []
    for number, number_of in ((0, rank), (1, 2 * ranks - 1 - rank)):
        stop = (number_of + 1) * stretch
        own = query[:, :, number * stretch : (number + 1) * stretch]
        out.append(attend_causal(own, keys[:, :, :stop], values[:, :, :stop], scaling))
    return torch.cat(out, dim=2)


def in_order(gathered_RBNTH: Tensor, ranks: int) -> Tensor:
    """[B, N, T, H] in the order of the sequence, of what each process has at its `columns_of_rank`."""
    front, back = gathered_RBNTH.chunk(2, dim=3)
    return torch.cat([*front.unbind(), *back.flip(0).unbind()], dim=2)


class GatherRanks(torch.autograd.Function):
    """The tensors of all ranks, [R, ...]; backward sums the gradients that all ranks have for this one's."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: dist.ProcessGroup) -> Tensor:
        """All tensors, in the order of ranks."""
        ctx.group = group
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, own.contiguous(), group=group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The sum over ranks of the gradients of this rank's tensor."""
        group = ctx.group
        whole = grads[0].contiguous()
        dist.all_reduce(whole, group=group)  # reduce_scatter would send less; gloo lacks it for some types
        return whole[dist.get_rank(group)], None


def backend(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step) -> Tensor:
    """An attention backend (`vxl.llm.attention.backends`) for `columns_of_rank` of each row."""
    if step.spans is not None:
        raise ConfigError("context parallelism can't train on packed samples.\n  type  data.packing=false")
    return attend_across_ranks(query, key, value, scaling)
