"""How a compressor's ratio turns out on a tower's grid, known before any module is built."""

from dataclasses import dataclass
from math import ceil, isqrt


@dataclass(frozen=True)
class CompressorPlan:
    """The shape of a compressor's work on one group of frames."""

    frames_per_group: int
    """Frames that become one group of visual tokens."""
    tokens_per_group: int
    """Visual tokens of a group (K)."""
    temporal: int
    """Frames that become one."""
    spatial: int
    """k of the k x k patches that become one token."""
    ratio: int
    """Patches in / visual tokens out: temporal x spatial squared."""

    @property
    def grid(self) -> int:
        """Patches a side of the compressor's grid, after it is resized (27 -> 24 in Video-XL-2)."""
        return isqrt(self.tokens_per_group) * self.spatial

    def groups(self, frames: float) -> int:
        """Groups that `frames` frames make; the last one is filled up with its last frame."""
        return ceil(frames / self.frames_per_group)

    def tokens(self, frames: int) -> int:
        """Visual tokens that `frames` frames make."""
        return self.groups(frames) * self.tokens_per_group
