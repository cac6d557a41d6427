"""What Lightning is told about the processes and the precision, which it would otherwise find out itself."""

from typing import Literal

from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision

from vxl.train.launch.group import Group


class Joined(ClusterEnvironment):
    """The processes are there and know their places (vxl.train.launch.group).

    Given to Lightning as it is, so that it neither starts processes, nor takes SLURM's signals for itself
    (P7), nor ignores SLURM because a job is called `bash` (P6).
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    @property
    def creates_processes_externally(self) -> bool:
        """They are there."""
        return True

    @property
    def main_address(self) -> str:
        """Of no use: the process group is made."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Of no use: the process group is made."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Never of its own accord."""
        return False

    def world_size(self) -> int:
        """Processes in all."""
        return self.group.ranks

    def set_world_size(self, size: int) -> None:
        """Known."""

    def global_rank(self) -> int:
        """This process."""
        return self.group.rank

    def set_global_rank(self, rank: int) -> None:
        """Known."""

    def local_rank(self) -> int:
        """This process on its machine."""
        return self.group.local

    def node_rank(self) -> int:
        """The machine."""
        return self.group.node


def precision_of(precision: str, accelerator: Literal["cpu", "gpu"]) -> Precision:
    """Lightning's plug-in for `trainer.precision`; by itself it would refuse some with FSDP2."""
    if precision == "bf16-mixed":
        return MixedPrecision("bf16-mixed", "cuda" if accelerator == "gpu" else "cpu")
    if precision == "bf16-true":
        return HalfPrecision("bf16-true")
    return DoublePrecision() if precision == "64-true" else Precision()
