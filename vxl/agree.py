"""How often a part is called, where its weights are spread over processes that must call it together.

FSDP2 gathers a module's weights each time it is called, and every rank takes part in that. A rank whose
batch needs fewer calls (fewer slices of frames, chunks, windows) must make the missing ones all the same, or
all of them wait for ever. So whoever calls a part in a loop asks first how often, and makes the missing
calls with a dummy whose output nobody uses: appended to the real output and cut off again, it is part of the
graph, and its gradient is zero.
"""

import torch
from torch import distributed as dist
from torch import nn


def most(calls: int, module: nn.Module) -> int:
    """How often to call `module`: the most that any rank needs where it is sharded, else `calls`.

    All ranks must ask together, in the forward pass of the model.

    Args:
        calls: What this rank needs.
        module: What is called, or what holds it.
    """
    if not is_sharded(module):
        return calls
    device = "cpu" if "cpu:" in dist.get_backend_config() else "cuda"
    most_of_all = torch.tensor(calls, device=device)
    dist.all_reduce(most_of_all, op=dist.ReduceOp.MAX)
    return int(most_of_all)


def is_sharded(module: nn.Module) -> bool:
    """Whether a module or one inside it is sharded over several processes."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return False
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(inner, FSDPModule) for inner in module.modules())
