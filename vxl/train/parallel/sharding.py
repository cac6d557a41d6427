"""FSDP2: every rank holds a slice of each weight, its gradient and its optimizer state.

A unit (a block of the vision tower, the compressor, a layer of the language model) is gathered while it is
at work; the root holds the rest (embeddings, norms, output layer, selector), so that tied embeddings are one
tensor.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from vxl.checkpoint.fill import replace_tensor, tied
from vxl.llm.decoder import Decoder
from vxl.vision.base import VisionEncoder

Fill = Callable[[nn.Module], None]
"""Gives an outlined and sharded model its weights; called by all ranks together."""


@runtime_checkable
class ResetsBuffers(Protocol):
    """A part with buffers that no checkpoint holds (tables of positions, say)."""

    def reset_buffers(self) -> None:
        """Makes them anew, on the device where they are."""
        ...


@dataclass(frozen=True)
class Sharding:
    """How a model is sharded."""

    mesh: DeviceMesh
    """Data-parallel processes: (shard,), or (replicate, shard) for copies that each are sharded."""
    reshard: bool = True
    """Whether a unit's weights are given back after its forward pass and gathered anew for its backward."""
    compute: torch.dtype | None = None
    """Precision of the gathered weights; None for their own. Gradients are summed in `reduce`."""
    reduce: torch.dtype | None = None
    offload: bool = False
    """Whether weights and optimizer state stay in the memory of the CPU."""


def units(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that are gathered one at a time, in the order of the forward pass."""
    for name, part in model.named_children():
        if isinstance(part, VisionEncoder | Decoder):
            yield from part.blocks
        elif name == "compressor":
            yield part


def apply_fsdp(model: nn.Module, how: Sharding) -> None:
    """Shards a model in place: each unit, then the root; on the meta device, too.

    Args:
        model: A VideoLanguageModel.
        how: On which processes, in which precision.
    """
    # Some units return views. Newer releases warn not to change those in place, which no unit does.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    # Inputs are left alone: they travel in dataclasses, and frames are uint8; autocast does the rest.
    precision = MixedPrecisionPolicy(how.compute, how.reduce, cast_forward_inputs=False)
    offload = CPUOffloadPolicy(pin_memory=how.mesh.device_type != "cpu") if how.offload else OffloadPolicy()
    settings: dict[str, Any] = {"mesh": how.mesh, "mp_policy": precision, "offload_policy": offload}
    for unit in units(model):
        fully_shard(unit, reshard_after_forward=how.reshard, **settings)
    # The root is needed to the end of the forward pass and from the beginning of the backward pass.
    fully_shard(model, reshard_after_forward=False, **settings)


def materialise(model: nn.Module, device: torch.device) -> None:
    """Gives an outlined model's tensors memory, without values; what checkpoints lack is made anew."""
    own = model.state_dict(keep_vars=True)
    again = tied(own)
    model.to_empty(device=device)
    for name, first in again.items():
        replace_tensor(model, name, model.get_parameter(first))
    for part in model.children():
        if isinstance(part, ResetsBuffers):
            part.reset_buffers()


def scatter(values: dict[str, Tensor] | None, model: nn.Module) -> None:
    """Scatters whole tensors from the first rank, one at a time, to the sharded model of every rank.

    Args:
        values: In the first rank: the tensors by name. In the others: None.
        model: The sharded model, materialised.
    """
    own = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    for name in (name for name in own if name not in tied(model.state_dict(keep_vars=True))):
        fill_sharded(own[name], None if values is None else values[name])


def fill_sharded(target: Tensor, value: Tensor | None) -> None:
    """Copies a tensor of the first rank into a sharded (or whole) one of all ranks."""
    local = target.to_local() if isinstance(target, DTensor) else target
    device = local.device
    if isinstance(target, DTensor):
        device = torch.device(target.device_mesh.device_type, local.device.index)
    whole = torch.empty(target.shape, dtype=target.dtype, device=device)
    if value is not None:
        whole.copy_(value)
    if isinstance(target, DTensor):
        local.copy_(distribute_tensor(whole, target.device_mesh, target.placements).to_local())
    else:
        dist.broadcast(whole, src=0)
        local.copy_(whole)
