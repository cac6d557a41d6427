"""Where the picture changes: windows of a video that end there (Video-XL, "dynamic compression").

The paper splits a video by the depth score of the similarities of adjacent frames. No code of it was
published; the score is TextTiling's, as in VideoLLaMB (arXiv 2409.01071).
"""

from itertools import pairwise

import numpy as np


def depth(similarity_N: np.ndarray) -> np.ndarray:
    """How deep each similarity lies between the highest ones on both sides: 0 where nothing changes."""
    left_N = np.maximum.accumulate(similarity_N)
    right_N = np.maximum.accumulate(similarity_N[::-1])[::-1]
    return (left_N + right_N - 2 * similarity_N) / 2


def intervals(similarity_N: np.ndarray, alpha: float, longest: int) -> list[int]:
    """Lengths of the intervals of a video's N + 1 groups.

    Args:
        similarity_N: Of each group to the next one, -1 to 1.
        alpha: An interval ends where the depth score exceeds its mean by `alpha` standard deviations.
        longest: Groups of the longest interval; longer ones are cut into equal parts, as far as that goes.
    """
    depth_N = depth(similarity_N)
    ends = np.flatnonzero(depth_N > depth_N.mean() + alpha * depth_N.std()) + 1 if len(depth_N) else []
    bounds = [0, *(int(end) for end in ends), len(similarity_N) + 1]
    lengths: list[int] = []
    for start, stop in pairwise(bounds):
        parts = -(-(stop - start) // longest)
        lengths += [len(part) for part in np.array_split(np.arange(stop - start), parts)]
    return lengths
