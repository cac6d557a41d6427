"""A training stage: which parts of the model learn, and how fast."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from vxl.compressor.reconstruct import ReconstructConfig
from vxl.errors import ConfigError
from vxl.llm.beacon import is_of_beacon
from vxl.llm.lora import is_update
from vxl.llm.packed import Frozen, pack_adapted
from vxl.vision.base import VisionEncoder

Part = Literal["vision", "compressor", "projector", "selector", "llm"]
PARTS: tuple[Part, ...] = ("vision", "compressor", "projector", "selector", "llm")


@dataclass(frozen=True, kw_only=True)
class PartRates:
    """Learning rates of parts that differ from the stage's."""

    vision: float | None = None
    """Peak learning rate of the vision tower; null: optim.lr."""
    compressor: float | None = None
    """Peak learning rate of the compressor without its projector; null: optim.lr."""
    projector: float | None = None
    """Peak learning rate of the projector; null: optim.lr."""
    selector: float | None = None
    """Peak learning rate of the selector, where it has parameters; null: optim.lr."""
    llm: float | None = None
    """Peak learning rate of the language model; null: optim.lr."""

    def __post_init__(self) -> None:
        for part in PARTS:
            rate = getattr(self, part)
            if rate is not None and rate <= 0:
                raise ConfigError(
                    f"{part}={rate} is not a learning rate.\n"
                    "  expected: a number above 0, or null, which takes optim.lr"
                )


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What one stage trains."""

    name: str = field(default="", metadata={"resumable": True})
    """Its own name, for tables and dashboards."""
    train: list[Part] = field(default_factory=lambda: list(PARTS))
    """Parts that learn: vision, compressor, projector, selector, llm. The others are frozen."""
    lr: float = 1e-5
    """Peak learning rate that this stage was published with; optim.lr takes it unless it is set itself."""
    part_lr: PartRates = PartRates()
    """Learning rates of single parts."""
    ratios: list[int] = field(default_factory=list)
    """With kv=vst: ratios that training draws from, as kv.draw says, in place of kv.ratio, which then is that
    of validation and of answers; 0 keeps all visual tokens, without beacons. Empty: train with kv.ratio."""
    curriculum: float = 0.0
    """Share of the steps over which the larger ratios join: the two smallest from the first step on, then one
    after the other; 0: all from the first step on."""
    objective: Literal["language", "reconstruct"] = "language"
    """What is learned: the answers, by the whole model; or to reconstruct the tower's patches (ReCoT), by the
    compressor and a decoder, without a language model."""
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    """With objective=reconstruct: how patches are masked and what counts."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError(f"train=[] trains nothing.\n  choose from: {', '.join(PARTS)}")
        if len(set(self.train)) < len(self.train):
            raise ConfigError(f"train=[{','.join(self.train)}] names a part twice.")
        if self.lr <= 0:
            raise ConfigError(f"lr={self.lr} is not a learning rate.\n  expected: a number above 0")
        if any(ratio < 0 for ratio in self.ratios):
            raise ConfigError(
                f"ratios={self.ratios} has one below 0.\n  allowed: 1 or more, or 0 to keep all"
            )
        if self.objective == "reconstruct" and list(self.train) != ["compressor"]:
            raise ConfigError(
                f"objective=reconstruct with train=[{','.join(self.train)}]: the compressor learns alone, "
                "from a tower that stays as it is.\n  type  stage.train=[compressor]"
            )
        if not 0 <= self.curriculum <= 1:
            raise ConfigError(f"curriculum={self.curriculum} is no share of the steps.\n  expected: 0 to 1")


def part_of(parameter: str) -> Part:
    """The part that a parameter belongs to, by its name in `VideoLanguageModel`."""
    if parameter.startswith("compressor.projector."):
        return "projector"
    part = parameter.partition(".")[0]
    for name in PARTS:
        if part == name:
            return name
    raise ValueError(f"parameter {parameter} belongs to none of {', '.join(PARTS)}")


def ratios_at(stage: StageConfig, progress: float) -> tuple[int, ...]:
    """The ratios that training draws from when a share `done` of the steps is done."""
    ratios = tuple(sorted(stage.ratios))
    if progress >= stage.curriculum or len(ratios) <= 2:
        return ratios
    return ratios[: 2 + int((len(ratios) - 2) * progress / stage.curriculum)]


def trains(stage: StageConfig, part: str) -> bool:
    """Whether a part learns in a stage."""
    return part in stage.train


def freeze(model: nn.Module, stage: StageConfig) -> None:
    """Makes the stage's parts learn and nothing else; before an optimizer is built.

    A language model with LoRA learns by its updates alone, and by its beacons' weights if it has them.
    """
    parameters = list(model.named_parameters())
    adapted = any(is_update(name) for name, _ in parameters)
    for name, parameter in parameters:
        part = part_of(name)
        base = adapted and part == "llm" and not is_update(name) and not is_of_beacon(name)
        parameter.requires_grad_(trains(stage, part) and not base)


def tower_to_fp8(model: nn.Module) -> None:
    """Makes a tower that does not learn what `vision.fp8` says; after `freeze`, and before `cast_frozen`,
    which would round its weights once more."""
    vision = getattr(model, "vision", None)
    if isinstance(vision, VisionEncoder) and not any(p.requires_grad for p in vision.parameters()):
        vision.to_fp8()


def cast_frozen(model: nn.Module, frozen: Frozen) -> None:
    """Gives parameters that do not learn the precision of `trainer.frozen`; after `freeze`.

    With int8 and nf4 weights beside LoRA's updates are packed, and the others get bf16.
    """
    if frozen == "same":
        return

    if frozen != "bf16":
        pack_adapted(model, frozen)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)


def train_mode(model: nn.Module, stage: StageConfig) -> None:
    """Puts the parts that learn in training mode and frozen ones in evaluation mode (dropout, statistics)."""
    model.train()
    for name, part in model.named_children():
        if name in PARTS:
            part.train(trains(stage, name))
    projector = getattr(model.get_submodule("compressor"), "projector", None)
    if projector is not None:
        projector.train(trains(stage, "projector"))
