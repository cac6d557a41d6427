"""Arithmetic of a training step, part by part, and the share of the device's peak that it reaches (MFU).

Only what the mathematics requires is counted: no recomputation, no gradients of frozen weights, no gradients
that nothing upstream asks for. A multiply-add is two operations.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vxl.train.stage import PARTS, Part, StageConfig, part_of, trains

# Dense bf16 peaks in operations a second, from the vendors' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "B200": 2250e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


@dataclass(frozen=True)
class Flops:
    """Counts the operations that a step needs.

    Attributes:
        weights: Weights by part that every patch (vision, compressor) or token (the others) goes through.
        head: Weights of the vocabulary projection, which only supervised tokens go through.
        passes: By part 1 forward, + 1 for gradients of its inputs, + 1 for gradients of its weights.
        patches: Patches a frame.
        attention: By part (vision, llm) layers x width of its attention.
        peak: Operations a second that the device can do.
    """

    weights: dict[Part, int]
    head: int
    passes: dict[Part, int]
    patches: int
    attention: dict[str, int]
    peak: float

    def of(self, step: Any) -> float:
        """Operations of one step.

        Args:
            step: What the step saw (vxl.train.module.Step): tokens, visual tokens, frames, pairs, supervised.
        """
        return sum(self.by_part(step).values())

    def by_part(self, step: Any) -> dict[str, float]:
        """Operations of one step by part."""
        patches = step.frames * self.patches
        looked_up = 2 * self.attention["vision"] * patches * self.patches * 2
        found = {
            "vision": self.passes["vision"] * (2 * self.weights["vision"] * patches + looked_up),
            "compressor": self.passes["compressor"] * 2 * self.weights["compressor"] * patches,
            "projector": self.passes["projector"] * 2 * self.weights["projector"] * step.visual_tokens,
            "selector": self.passes["selector"] * 2 * self.weights["selector"] * step.visual_tokens,
            # Causal: half of all pairs; two products (scores, values).
            "llm": self.passes["llm"]
            * (2 * self.weights["llm"] * step.tokens + 2 * self.attention["llm"] * step.pairs),
            "head": self.passes["llm"] * 2 * self.head * step.supervised,
        }
        return {part: float(value) for part, value in found.items()}


def peak_of(device: torch.device) -> float | None:
    """Dense bf16 peak of a device, or None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in PEAKS.items() if key in name), None)


def flops_of(model: nn.Module, stage: StageConfig, peak: float) -> Flops:
    """Counts a model's weights for `Flops`."""
    weights: dict[Part, int] = dict.fromkeys(PARTS, 0)
    embedding = head = 0
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name:
            embedding = parameter.numel()
        elif "lm_head" in name:
            head = parameter.numel()
        elif parameter.ndim > 1:
            weights[part_of(name)] += parameter.numel()
    passes: dict[Part, int] = {}
    upstream = False
    for part in PARTS:
        own = trains(stage, part)
        passes[part] = 1 + (own or upstream) + own
        upstream |= own
    vision, llm = model.get_submodule("vision"), model.get_submodule("llm")
    return Flops(
        weights=weights,
        head=head or embedding,
        passes=passes,
        patches=int(getattr(vision, "patches", 0)),
        attention={
            "vision": int(getattr(vision, "layers", 0)) * int(getattr(vision, "width", 0)),
            "llm": int(getattr(llm, "layers", 0)) * int(getattr(llm, "width", 0)),
        },
        peak=peak,
    )
