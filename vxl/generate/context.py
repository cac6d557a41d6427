"""What a model has watched: its cache, and what it took to fill it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from vxl.generate.selecting import Waiting
from vxl.llm.cache import Cache
from vxl.llm.cache.offload import map_tensors, mover
from vxl.model import VideoLanguageModel
from vxl.relevance.base import FrameVectors


@dataclass(frozen=True, eq=False, repr=False)
class Context:
    """What a model has watched; questions leave it as it is."""

    model: VideoLanguageModel
    cache: Cache
    frames: int
    """Frames seen, the repeated ones that fill up groups included."""
    visual_tokens: int
    tokens: int
    """All tokens, text included."""
    watch_ms: float
    """Waiting for frames, vision, compression and prefill."""
    prefill_ms: float
    """Of it, the language model."""
    names: tuple[str, ...] = ()
    """What the visuals are called, as far as it is known."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the watcher wants to remember beside it, of plain types."""
    waiting: Waiting | None = None
    """What is prefilled only when a question selects of it; the cache is empty then."""
    seen: FrameVectors | None = None
    """What relevance kept of the frames."""
    most: int | None = None
    """How long the sequence may get with a question; None for any length."""

    def __repr__(self) -> str:
        """A line: the model's layers are not what a notebook's cell should show."""
        return f"Context({self.frames} frames, {self.visual_tokens} visual tokens, {self.tokens} tokens)"

    @property
    def cache_bytes(self) -> int:
        """Memory of the cache's entries, of the visual tokens where they wait for a question, and of what
        relevance kept of the frames."""
        return self.cache.used_bytes() + sum(part.bytes() for part in (self.waiting, self.seen) if part)

    def to(self, device: torch.device | str) -> "Context":
        """The context with its cache on another device: `to("cpu")` frees a GPU for other videos as soon as
        the old one is gone. Its questions still run where the model is; each takes a copy there."""
        device = torch.device(device)
        with mover(device) as move:
            waiting, seen = map_tensors((self.waiting, self.seen), move)
            return replace(self, cache=self.cache.to(device), waiting=waiting, seen=seen)


def now(model: VideoLanguageModel) -> float:
    """Milliseconds on a clock, when the device has done what it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return 1000 * time.perf_counter()
