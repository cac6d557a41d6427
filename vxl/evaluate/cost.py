"""What answers cost: time of prefill and decoding, bytes of the cache, peak memory."""

import math
import resource
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class AnswerCost:
    """One question's cost."""

    watch_ms: float
    """Decoding, vision, compression and prefill of the video; 0 where an earlier question had paid for it."""
    prefill_ms: float
    """Prefill of all before the first generated token: the video (shared or not) and the question."""
    new_tokens: int
    """Generated tokens."""
    decode_ms: float
    """Time between the first and the last generated token."""
    cache_bytes: int
    """Bytes that the cache really held at the end of the answer."""
    visual_tokens: int
    """Visual tokens of the video."""
    frames: int
    """Frames of the video that the model saw."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of an evaluation: medians over its questions."""

    questions: int
    prefill_ms: float
    """Median per question."""
    decode_tokens_per_s: float
    """Generated tokens after each first one / their time; nan where answers have one token."""
    cache_bytes: float
    """Median per question."""
    peak_memory_bytes: int
    """Highest memory during the evaluation: of the GPU where there is one, else of the process."""
    peak_memory_of: str
    """`cuda` or `process`."""
    visual_tokens: float
    """Median per video."""
    frames: float
    """Median per video."""
    seconds: float
    """The whole evaluation."""

    def plain(self) -> dict[str, Any]:
        """For JSON, which has no nan."""
        return {
            name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(self).items()
        }


def summarise(costs: Sequence[AnswerCost], memory: "PeakMemory", seconds: float) -> Cost:
    """One line out of the costs of all answers."""
    decoded = sum(max(0, cost.new_tokens - 1) for cost in costs)
    decode_s = math.fsum(cost.decode_ms for cost in costs) / 1000
    median = statistics.median if costs else lambda _: math.nan
    return Cost(
        questions=len(costs),
        prefill_ms=median([cost.prefill_ms for cost in costs]),
        decode_tokens_per_s=decoded / decode_s if decoded and decode_s > 0 else math.nan,
        cache_bytes=median([cost.cache_bytes for cost in costs]),
        peak_memory_bytes=memory.bytes,
        peak_memory_of=memory.of,
        visual_tokens=median([cost.visual_tokens for cost in costs]),
        frames=median([cost.frames for cost in costs]),
        seconds=seconds,
    )


class PeakMemory:
    """Measures the highest memory between entering and leaving a `with` block.

    On CUDA that is what the allocator held for tensors; on the CPU the process's resident set, of which the
    kernel keeps a high-water mark: where the mark can't be reset (not on Linux, or no permission), it is that
    of the process's whole life.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.of = "cuda" if device.type == "cuda" else "process"
        self.bytes = 0

    def __enter__(self) -> "PeakMemory":
        if self.of == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _reset_high_water()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes = torch.cuda.max_memory_allocated(self.device) if self.of == "cuda" else _high_water()


def _reset_high_water() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _high_water() -> int:
    """The process's highest resident set, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
