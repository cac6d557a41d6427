"""A whole model in miniature, and sequences for it."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vxl.compressor.dts import DTSConfig
from vxl.data.batch.collate import Example
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.llm.decoder import DecoderConfig
from vxl.model import VideoLanguageModel, build_model
from vxl.parts import ModelParts
from vxl.prefill.full import FullConfig
from vxl.sequence.layout import Kind
from vxl.video.sample import FpsConfig
from vxl.vision.siglip import SiglipConfig

PLACEHOLDER = 9


PARTS = ModelParts(
    model="tiny",
    size="tiny",
    video=FpsConfig(max_frames=8),
    vision=SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=1),
    compressor=DTSConfig(),
    llm=DecoderConfig(vocab=97, width=48, mlp=64, layers=2),
    prefill=FullConfig(groups=2),
    kv=KeepAllConfig(),
)


def settings(**changes: Any) -> ModelParts:
    """The parts of the model, some of them others."""
    return replace(PARTS, **changes)


def model(**changes: Any) -> VideoLanguageModel:
    built = build_model(settings(**changes)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # far from flat, so that answers vary and depend on what was seen
        for name, parameter in built.llm.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
            else:
                parameter.mul_(50.0 if "embed" in name else 10.0)
    return built


def video(groups: int) -> BatchedVisual:
    return BatchedVisual("video", 4 * groups, groups)


IMAGE = BatchedVisual("image", 4, 1)


def head(*items: BatchedVisual, tokens: int = 4) -> Encoded:
    """A system turn and visuals, of `tokens` a group, with a little text around them."""
    encoded = Encoded()
    encoded.text([1, 2, 3])
    group = 0
    for item in items:
        for number in range(item.groups):
            if item.kind == "video":
                encoded.visual([7, 20 + number], Kind.TIME, group, float(number))
            encoded.visual([PLACEHOLDER] * tokens, Kind.VISUAL, group, float(number))
            group += 1
        encoded.items.append(item)
        encoded.text([4])
    return encoded


def frames(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 56, 56), dtype=torch.uint8, generator=generator)


def example(*items: BatchedVisual, answer: tuple[int, ...] = (10, 11, 12), seed: int = 0) -> Example:
    """A question about visuals, with its answer supervised."""
    encoded = head(*items)
    encoded.text([5, 6])
    encoded.text(answer, supervised=True)
    return Example(encoded, frames(sum(item.frames for item in items), seed))
