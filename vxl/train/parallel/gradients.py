"""Gradient norm and gradient clipping, on what each rank holds of the gradient.

Through the sharded tensors' own operations each of them costs the CPU its time, hundreds of them at the end
of every step, while the GPU waits; here a step takes a few launches and one sum over the ranks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor


@torch.no_grad()
def norms_of(parts: Sequence[Sequence[Tensor]], device: torch.device) -> Tensor:
    """norms_M: the norm of all gradients of each of M parts, in float32 at least; the same on all ranks.

    Args:
        parts: Each part's gradients; whole ones, or this rank's shards of them.
        device: Where the ranks sum up, and where the norms are wanted.
    """
    of_parts = []
    for gradients in parts:
        kind = torch.promote_types(gradients[0].dtype, torch.float32) if gradients else torch.float32
        own = [
            part for part in map(local_shard, gradients) if part.numel()
        ]  # a rank may hold nothing of a tensor
        norms = torch._foreach_norm(own, 2, kind) if own else [torch.zeros((), dtype=kind)]
        of_parts.append(torch.linalg.vector_norm(torch.stack(norms).to(device)))
    norms_M = torch.stack(of_parts)
    sharded = next((g for gradients in parts for g in gradients if isinstance(g, DTensor)), None)
    if sharded is None:
        return norms_M
    squares_M = norms_M.square()
    for axis, placement in enumerate(sharded.placements):
        if placement.is_shard():
            dist.all_reduce(squares_M, group=sharded.device_mesh.get_group(axis))
    return squares_M.sqrt()


@torch.no_grad()
def scale(gradients: Sequence[Tensor], factor: float) -> None:
    """Multiplies gradients in place."""
    own = [part for part in map(local_shard, gradients) if part.numel()]
    if own:
        torch._foreach_mul_(own, factor)


def local_shard(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
