"""What the tests of this folder watch, and what they hold answers against."""

from typing import Any

import torch
from torch import Tensor

from tests.small_model import frames, head, video
from vxl.data.batch.encoded import Encoded
from vxl.generate import Context, watch
from vxl.generate.watching import layout_of

CLIP = frames(18)
"""Four and a half groups."""


def watched(m: Any, *, by: int = 5, seed: int = 0) -> Context:
    return watch(m, head(video(5)), [frames(18, seed).split(by)])


@torch.no_grad()
def recomputed(m: Any, encoded: Encoded, frames_FCHW: Tensor, question: list[int], count: int) -> list[int]:
    """Greedy tokens where every step runs the whole sequence anew."""
    visual = m.encode(frames_FCHW) if len(frames_FCHW) else None
    said: list[int] = []
    for _ in range(count):
        full = Encoded(**{name: list(value) for name, value in vars(encoded).items() if name != "answer_at"})
        full.text([*question, *said])
        embeds = m.splice(torch.tensor([full.tokens]), visual, layout_of(full))
        hidden = m.llm(embeds, m.llm.step(torch.arange(len(full))[None]))
        said.append(int(m.llm.logits(hidden[0, -1]).argmax()))
    return said
