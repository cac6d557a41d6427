"""What answers cost: time of prefill and decoding, bytes of the cache, peak memory."""

import math
import resource
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vxl.evaluate.work.answers import RawAnswer

if TYPE_CHECKING:  # late: torch takes 2 s, and vxl compare reads costs without it
    import torch


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of an evaluation: medians over its questions."""

    questions: int
    prefill_ms: float
    """Median per question of all before the first token but waiting for frames: the video's prefill (shared
    or not) and the question's."""
    first_token_ms: float
    """Median per question, as if it were asked alone: decoding the video, vision, prefill, the question."""
    decode_tokens_per_s: float
    """Generated tokens after each first one / their time; nan where answers have one token."""
    cache_bytes: float
    """Median per question of the bytes of entries that the cache has."""
    cache_room_bytes: float
    """Median per question of what it holds beside them, for tokens that may come."""
    peak_memory_bytes: int
    """Highest memory during the evaluation: of the GPU where there is one, else of the process."""
    peak_memory_of: str
    """`cuda` or `process`."""
    visual_tokens: float
    """Median per question of its video's visual tokens."""
    frames: float
    """Median per question of its video's frames."""
    prefill_flops: float
    """Median per question of the language model's operations before the first token, the video's included:
    2 a weight and token that goes through, 4 a channel, pair of a token and a key that it sees, and layer."""
    seconds: float
    """Summed over all videos and questions: what one worker would have needed."""

    def plain(self) -> dict[str, Any]:
        """For JSON, which has no nan."""
        return {
            name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(self).items()
        }


def summarise(answers: Sequence[RawAnswer], of: str) -> Cost:
    """One line out of the costs of all answers.

    Args:
        answers: With costs as `vxl.evaluate.work.answering` writes them; failed ones are left out.
        of: What the peak is of: `cuda` or `process`.
    """
    costs = [answer.cost for answer in answers if answer.cost and answer.failed is None]
    decode_tokens = sum(max(0.0, cost["new_tokens"] - 1) for cost in costs)
    decode_s = math.fsum(cost["decode_ms"] for cost in costs) / 1000
    median = statistics.median if costs else lambda _: math.nan
    before = [cost["video_prefill_ms"] + cost["question_ms"] for cost in costs]
    seconds = math.fsum(cost["watch_ms"] + cost["question_ms"] + cost["decode_ms"] for cost in costs) / 1000
    return Cost(
        questions=len(costs),
        prefill_ms=median(before),
        first_token_ms=median([cost["video_ms"] + cost["question_ms"] for cost in costs]),
        decode_tokens_per_s=decode_tokens / decode_s if decode_tokens and decode_s > 0 else math.nan,
        cache_bytes=median([cost["cache_bytes"] for cost in costs]),
        cache_room_bytes=median([cost.get("cache_room_bytes", 0) for cost in costs]),
        peak_memory_bytes=int(max((cost["peak_bytes"] for cost in costs), default=0)),
        peak_memory_of=of,
        visual_tokens=median([cost["visual_tokens"] for cost in costs]),
        frames=median([cost["frames"] for cost in costs]),
        prefill_flops=median([cost["flops"] for cost in costs]),
        seconds=seconds,
    )


class PeakMemory:
    """Measures the highest memory between entering and leaving a `with` block.

    On CUDA that is what the allocator held for tensors; on the CPU the process's resident set, of which the
    kernel keeps a high-water mark: where the mark can't be reset (not on Linux, or no permission), it is that
    of the process's whole life.
    """

    def __init__(self, device: "torch.device") -> None:
        self.device = device
        self.of = "cuda" if device.type == "cuda" else "process"
        self.bytes = 0

    def __enter__(self) -> "PeakMemory":
        if self.of == "cuda":
            import torch  # late: torch takes 2 s, and vxl compare reads costs without it

            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _reset_high_water()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.of == "cuda":
            import torch  # late: torch takes 2 s, and vxl compare reads costs without it

            self.bytes = torch.cuda.max_memory_allocated(self.device)
        else:
            self.bytes = _high_water()


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
