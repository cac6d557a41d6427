"""`strategy.context`: which processes of a run share rows, and this one's place among them.

The processes of a context group share the rows of one data-parallel rank, so the numbers of a run are those
of processes / context ranks. Weights are spread, and gradients summed, over all processes as without it.
"""

from collections.abc import Sequence
from typing import Any

from torch import distributed as dist

from vxl.distributed import ContextGroup
from vxl.errors import GOES_ON, DataError
from vxl.train.launch.processes import WAIT


def context_group(context: int) -> ContextGroup | None:
    """The processes that share this one's rows; None where each has rows of its own. Called by all together.

    They talk through a process group of their own, also where they are all there are: in that of the run FSDP
    gathers weights ahead and DDP sums gradients meanwhile, and one group does one thing after the other.

    Args:
        context: Processes that share rows; neighbours, so that they are of one machine where possible.
    """
    if context == 1:
        return None
    peers, _ = dist.new_subgroups(context, timeout=WAIT)
    return ContextGroup(dist.get_rank(peers), context, peers)


def refuse_unlike(seen: Sequence[Any], context: int) -> None:
    """Makes sure that the processes of each context group are about to train on the same rows.

    Args:
        seen: What tells rows apart, of every process of the run in order.
        context: Processes that share rows.

    Raises:
        DataError: They are not: a file that one of them could not read, say.
    """
    for first in range(0, len(seen), context):
        others = [n for n in range(first, first + context) if seen[n] != seen[first]]
        if others:
            raise DataError(
                f"process {others[0]} has other rows than process {first}, with which it shares them "
                f"(strategy.context={context}): {seen[others[0]]} and {seen[first]}.\n"
                "  a file that one of them could not read does so; all processes must see the same data.\n"
                f"  {GOES_ON}"
            )
