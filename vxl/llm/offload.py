"""Moving tensors between a GPU and the host's memory."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def mover(device: torch.device) -> Generator[Callable[[Tensor], Tensor]]:
    """A function that copies tensors to a device: each one once, however often it is given, and alone in its
    storage. What leaves a GPU goes to page-locked memory, from which it comes back at the bus's full speed.

    The copies are there when the `with` block ends.
    """
    known: dict[int, tuple[Tensor, Tensor]] = {}  # the old ones are held, so that identities stay unique
    left: set[torch.device] = set()

    def move(tensor: Tensor) -> Tensor:
        if id(tensor) not in known:
            new = torch.empty(
                tensor.shape,
                dtype=tensor.dtype,
                device=device,
                pin_memory=tensor.is_cuda and device.type == "cpu",
            )
            new.copy_(tensor.detach(), non_blocking=True)
            left.update(d for d in (tensor.device, device) if d.type == "cuda")
            known[id(tensor)] = tensor, new
        return known[id(tensor)][1]

    yield move
    for each in left:
        torch.cuda.synchronize(each)
