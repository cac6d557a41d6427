"""What the processes of a run settle together."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

T = TypeVar("T")


def once(function: Callable[[], T], peers: Any = None) -> T:
    """What `function` gives in the first process; the others wait for it and get a copy.

    Args:
        function: What one process does for all.
        peers: A process group; None: all processes of the run.

    Raises:
        SystemExit: In the others, where it raised in the first, which says why.
    """
    if not dist.is_initialized() or dist.get_world_size(peers) == 1:
        return function()
    first = dist.get_rank() == 0
    outcome: list[Any] = [None, False]
    error: BaseException | None = None
    if first:
        try:
            outcome[0] = function()
        except BaseException as raised:  # whatever it is, an exit too: the others wait to hear of it
            error, outcome[1] = raised, True
    own = outcome[0]
    dist.broadcast_object_list(outcome, src=0, group=peers)
    if error is not None:
        raise error
    if outcome[1]:
        sys.exit(2)
    return own if first else outcome[0]


def gathered(value: T) -> list[T]:
    """Every rank's value, in the order of ranks; a small one."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def calls_on_every_rank(calls: int, module: nn.Module) -> int:
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
    from torch.distributed.fsdp import FSDPModule  # late: fsdp imports sympy, a second

    return any(isinstance(inner, FSDPModule) for inner in module.modules())


@dataclass(frozen=True, eq=False)
class ContextGroup:
    """The processes that share each row (`strategy.context`), seen by one of them."""

    rank: int
    """This process, of `ranks`."""
    ranks: int
    """Processes of the group."""
    peers: Any
    """Their process group."""


def gather_parts(own: Tensor, group: ContextGroup) -> Tensor:
    """The tensors of all processes of a group, [R, ...], in the order of ranks; equal shapes. Gradients flow
    back to the process that each part is from: the sum of those that all processes have for it.

    Every process must use what it gets, in its forward pass and so in its backward pass.
    """
    return _Gather.apply(own, group)


def sum_of_parts(own: Tensor, group: ContextGroup) -> Tensor:
    """The sum over a group's processes; the gradient of each one's own part is that of the sum, so that a
    loss which all of them have counts once."""
    return _Sum.apply(own, group)


def of_first(own: Tensor, group: ContextGroup | None) -> Tensor:
    """What the first process of a group has, in all of it: for choices that each makes of equal numbers, and
    which a GPU's order of sums might tip in one."""
    if group is None:
        return own
    same = own.clone()
    dist.broadcast(same, group_src=0, group=group.peers)
    return same


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, group: ContextGroup) -> Tensor:
        ctx.group = group
        gathered = own.new_empty(group.ranks, *own.shape)
        dist.all_gather(list(gathered.unbind()), own.contiguous(), group=group.peers)
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].contiguous()
        own = torch.empty_like(gradient[0])
        dist.reduce_scatter(own, list(gradient.unbind()), group=ctx.group.peers)
        return own, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, group: ContextGroup) -> Tensor:
        total = own.clone()
        dist.all_reduce(total, group=group.peers)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
