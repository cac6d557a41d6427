"""Lightning's strategies as vxl uses them: the processes are there, and checkpoints are vxl's folders."""

import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from typing_extensions import override

from vxl.train.parallel.checkpoint_folders import CheckpointFolders
from vxl.train.parallel.sharding import Fill, Sharding, apply_fsdp, materialise


class SingleStrategy(CheckpointFolders, SingleDeviceStrategy):
    """One process on one device."""


class ReplicatedStrategy(CheckpointFolders, DDPStrategy):
    """A whole copy of the model in every process."""


class ShardedStrategy(CheckpointFolders, ModelParallelStrategy):
    """FSDP2 over an explicit mesh: Lightning's own default would make its axis of one process a node.

    Args:
        shape: Processes a copy of the model, or (copies, processes a copy).
        precision: `trainer.precision`.
        reshard: Whether blocks give their weights back between forward and backward.
        offload: Whether weights and optimizer state stay in the memory of the CPU.
    """

    def __init__(self, *, shape: tuple[int, ...], precision: str, reshard: bool, offload: bool) -> None:
        ranks = 1
        for size in shape:
            ranks *= size
        super().__init__(data_parallel_size=ranks, tensor_parallel_size=1)
        self.shape = shape
        self.precision = precision
        self.reshard = reshard
        self.offload = offload

    def shard(self, model: nn.Module, fill: Fill | None) -> None:
        """Makes of an outlined model this rank's part of it.

        Args:
            model: On the meta device; sharded in place.
            fill: Gives it its weights; None where a checkpoint will.
        """
        self.precision_plugin.convert_module(model)
        names = ("replicate", "shard")[-len(self.shape) :]
        device = self.root_device
        mixed = self.precision == "bf16-mixed"
        how = Sharding(
            mesh=init_device_mesh(device.type, self.shape, mesh_dim_names=names),
            reshard=self.reshard,
            compute=torch.bfloat16 if mixed else None,
            reduce=torch.float32 if self.precision.startswith("bf16") else None,
            offload=self.offload,
        )
        apply_fsdp(model, how)
        materialise(model, torch.device("cpu") if self.offload else device)
        for module in model.modules():  # which FSDP leaves alone
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = buffer.to(device)
        if fill is not None:
            fill(model)

    @override
    def model_to_device(self) -> None:
        pass  # `shard` has done it
