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
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, torch.compiler.disable(attend))
    found = list(blocks(model))
    for block in found:
        block.compile(backend=compiler)
    log.info("compiling %d blocks (%s), at their first call", len(found), compiler)
    return len(found)


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """What a model repeats: the members of its outermost lists, and the compressor's layers."""
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        or (isinstance(module, nn.Sequential) and name.startswith("compressor."))
    ]
    outer: list[str] = []
    for name, module in lists:
        if any(name.startswith(f"{parent}.") for parent in outer):
            continue
        outer.append(name)
        yield from ([module] if name == "compressor.projector" else module.children())
