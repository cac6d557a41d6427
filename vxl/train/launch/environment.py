"""What Lightning is given for processes and precision, which it would otherwise find out itself."""

from typing import Any, Literal

from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from torch import nn
from torch.distributed.fsdp import FSDPModule
from typing_extensions import override

from vxl.train.launch.processes import Processes


class StartedProcesses(ClusterEnvironment):
    """The processes are there and know their places (vxl.train.launch.processes).

    Given to Lightning as it is, so that it neither starts processes, nor takes SLURM's signals for itself
    (P7), nor ignores SLURM because a job is called `bash` (P6).
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self.processes = processes

    @property
    @override
    def creates_processes_externally(self) -> bool:
        return True

    # Address and port are of no use: the process group is made.
    @property
    @override
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    @override
    def main_port(self) -> int:
        return 0

    @staticmethod
    @override
    def detect() -> bool:
        return False  # never chosen by Lightning of its own accord

    @override
    def world_size(self) -> int:
        return self.processes.ranks

    @override
    def set_world_size(self, size: int) -> None:
        pass

    @override
    def global_rank(self) -> int:
        return self.processes.rank

    @override
    def set_global_rank(self, rank: int) -> None:
        pass

    @override
    def local_rank(self) -> int:
        return self.processes.local

    @override
    def node_rank(self) -> int:
        return self.processes.node


class _AsTheyAre(Precision):
    """Mixed into Lightning's precisions: leaves batches as they are, and a sharded model.

    Batches are tokens and uint8 frames, of which the model makes what precision it needs; Lightning would
    rebuild them field by field. A strategy that shards a model converts it before.
    """

    @override
    def convert_input(self, data: Any) -> Any:
        return data

    @override
    def convert_module(self, module: nn.Module) -> nn.Module:
        if any(isinstance(part, FSDPModule) for part in module.modules()):
            return module
        return super().convert_module(module)


class _Full(_AsTheyAre, Precision):
    pass


class _Double(_AsTheyAre, DoublePrecision):
    pass


class _Half(_AsTheyAre, HalfPrecision):
    pass


class _Mixed(_AsTheyAre, MixedPrecision):
    pass


def precision_of(precision: str, accelerator: Literal["cpu", "gpu"]) -> Precision:
    """Lightning's plug-in for `trainer.precision`; by itself it would refuse some with FSDP2."""
    if precision == "bf16-mixed":
        return _Mixed("bf16-mixed", "cuda" if accelerator == "gpu" else "cpu")
    if precision == "bf16-true":
        return _Half("bf16-true")
    return _Double() if precision == "64-true" else _Full()
