"""`trainer.compile`: each block of the tower, the compressor and the language model through torch.compile.

Block by block and not the whole model: blocks of a kind share one compiled program, whatever holds them
(checkpointing, sharding) stays outside, and parameters keep their names. Attention of the language model
stays as it is: its kernels are fused already, and which documents a batch packs must not be a reason to
compile anew.
"""

import logging
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from vxl.llm.attention.function import NAME, attend
from vxl.llm.decoder import Decoder
from vxl.model import VideoLanguageModel
from vxl.vision.base import VisionEncoder

log = logging.getLogger(__name__)

Compiler = Literal["none", "inductor", "aot_eager"]


def compile_blocks(model: nn.Module, compiler: Compiler) -> int:
    """Compiles a model's blocks in place, at their first call; returns how many there are.

    Args:
        model: A VideoLanguageModel.
        compiler: `inductor` makes kernels (needs a C++ compiler on the CPU); `aot_eager` traces and runs what
            it traced, which shows what does not trace; `none` does nothing.
    """
    if compiler == "none":
        return 0
    from transformers import AttentionInterface  # late: transformers takes a second

    AttentionInterface.register(NAME, torch.compiler.disable(attend))
    blocks = list(compiled_modules(model))
    for block in blocks:
        block.compile(backend=compiler)
    log.info("compiling %d blocks (%s), at their first call", len(blocks), compiler)
    return len(blocks)


def compiled_modules(model: nn.Module) -> Iterator[nn.Module]:
    """What a model repeats: the blocks of tower and language model, and the compressor's layers.

    Without the tower's last block where a pruner listens to it: compiled blocks share a program, which calls
    the hooks of the block that it was made of.
    """
    heard = isinstance(model, VideoLanguageModel) and bool(model.pruner.needs)
    for name, part in model.named_children():
        if isinstance(part, VisionEncoder):
            yield from part.blocks[:-1] if heard else part.blocks
        elif isinstance(part, Decoder):
            yield from part.blocks
        elif name == "compressor":
            yield from _layers(part)


def _layers(compressor: nn.Module) -> Iterator[nn.Module]:
    """The members of a compressor's outermost lists, and its projector as a whole."""
    outer: list[str] = []
    for name, module in compressor.named_modules():
        inside = any(name.startswith(f"{parent}.") for parent in outer)
        if inside or not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        outer.append(name)
        yield from ([module] if name == "projector" else module.children())
