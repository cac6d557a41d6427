"""A training stage: which parts of the model learn, and how fast (conf/stage; design of the family's recipes)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from vxl.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

Part = Literal["vision", "compressor", "projector", "llm"]
PARTS: tuple[Part, ...] = ("vision", "compressor", "projector", "llm")


@dataclass(frozen=True, kw_only=True)
class PartRates:
    """Learning rates of parts that differ from the stage's."""

    vision: float | None = None
    """Peak learning rate of the vision tower; null: optim.lr."""
    compressor: float | None = None
    """Peak learning rate of the compressor without its projector; null: optim.lr."""
    projector: float | None = None
    """Peak learning rate of the projector; null: optim.lr."""
    llm: float | None = None
    """Peak learning rate of the language model; null: optim.lr."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What one stage trains."""

    train: list[Part] = field(default_factory=lambda: list(PARTS))
    """Parts that learn: vision, compressor, projector, llm. The others are frozen and in evaluation mode."""
    lr: float = 1e-5
    """Peak learning rate that this stage was published with; optim.lr takes it unless told otherwise."""
    part_lr: PartRates = PartRates()
    """Learning rates of single parts."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError(f"train=[] trains nothing.\n  choose from: {', '.join(PARTS)}")
        if len(set(self.train)) < len(self.train):
            raise ConfigError(f"train=[{','.join(self.train)}] names a part twice.")
        if self.lr <= 0:
            raise ConfigError(f"lr={self.lr} is not a learning rate.\n  expected: a number above 0")


def part_of(parameter: str) -> Part:
    """The part that a parameter belongs to, by its name in `VideoLanguageModel`."""
    if parameter.startswith("compressor.projector."):
        return "projector"
    part = parameter.partition(".")[0]
    for name in PARTS:
        if part == name:
            return name
    raise ValueError(f"parameter {parameter} belongs to none of {', '.join(PARTS)}")


def freeze(model: "nn.Module", stage: StageConfig) -> None:
    """Makes the stage's parts learn and nothing else. Call before an optimizer is built, and after `train()`."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in stage.train)
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
