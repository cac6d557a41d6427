"""Linear layers that hold their weight in codes of few bits: what all of them save, count and read back.

Which codes they are is the layer's own to say: int8 and nf4 beside LoRA's updates (`vxl.llm.packed`),
float8 (`vxl.weights.fp8`). The weight is no parameter, but a checkpoint has it, unpacked and under its own
name: evaluation, warm starts and export know of no codes.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn


class CodedLinear(nn.Linear):
    """A linear layer whose weight does not learn, and is unpacked where it is asked for."""

    @property
    @abstractmethod
    def weight(self) -> Tensor:  # ty: ignore[incompatible-property-override]
        """bf16, unpacked anew each time; coding it again gives the same weight."""

    @abstractmethod
    def hold(self, weight: Tensor) -> None:
        """Codes another weight, in place."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight.cpu()  # whole weights need not fit into the GPU


def coded(model: nn.Module) -> Iterator[tuple[str, CodedLinear]]:
    """The layers of a model that hold codes, by name."""
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, CodedLinear))


def hold_again(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Codes what a checkpoint was read into: `state_dict` gave such layers' weights as copies."""
    for name, layer in coded(model):
        layer.hold(tensors[f"{name}.weight"])
