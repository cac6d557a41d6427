"""What is computed of a whole matrix, where each rank holds a shard of it (FSDP)."""

from collections.abc import Callable

from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from vxl.train.parallel.gradients import local_shard


def of_whole(own: Tensor, like: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """This rank's shard of `function(whole)`, which gives a tensor of the same shape; a collective.

    Every rank gathers the whole and computes all of it, so that the numbers are those of one process.

    Args:
        own: This rank's shard, or the whole.
        like: The weight that it belongs to: says how it is sharded.
        function: What is computed; on the device where ranks talk to each other.
    """
    if not isinstance(like, DTensor):
        return function(own)
    mesh, sharding = like.device_mesh, like.placements
    shards = DTensor.from_local(own, mesh, sharding, run_check=False, shape=like.shape, stride=like.stride())
    whole = function(shards.full_tensor())
    everywhere = DTensor.from_local(whole.contiguous(), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return local_shard(everywhere.redistribute(placements=sharding)).to(own.device)
