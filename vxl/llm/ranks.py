"""What the ranks of a sharded language model must agree on: FSDP2 hangs where one calls it less often."""

import torch
import torch.distributed as dist
from torch import nn


def is_sharded(model: nn.Module) -> bool:
    """Whether calling a model's parts talks to other ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(module, FSDPModule) for module in model.modules())


def most_of_ranks(count: int, model: nn.Module) -> int:
    """The highest count of all ranks where the model is sharded; else this one's.

    Every rank must call this equally often.
    """
    if not is_sharded(model):
        return count
    most = torch.tensor(count, device=next(model.parameters()).device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)
