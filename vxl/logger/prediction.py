"""A held-out question as the model answers it, with some frames: what validations hand to a logger."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

SIDE = 96
"""Pixels of a frame's side in a question's picture."""


@dataclass(frozen=True)
class Prediction:
    """One question as the model answers it."""

    key: str
    question: str
    """What is asked, options included."""
    answer: str
    """The likeliest option's letter."""
    right: str
    """The right option's letter."""
    probability: float
    """Of the answer, among the options."""
    frames_FCHW: Tensor = field(repr=False, compare=False)
    """Some frames, uint8; none where the question has no visual."""

    @property
    def correct(self) -> bool:
        """Whether it is right."""
        return self.answer == self.right

    def numbers(self) -> dict[str, Any]:
        """Everything but the frames."""
        own = {name: value for name, value in asdict(self).items() if name != "frames_FCHW"}
        return own | {"correct": self.correct}


def strip(frames_FCHW: Tensor) -> Tensor:
    """Frames side by side, small: uint8 picture_HWC."""
    small = torch.nn.functional.interpolate(frames_FCHW.float(), size=(SIDE, SIDE), mode="area")
    return small.round().to(torch.uint8).permute(2, 0, 3, 1).flatten(1, 2)
