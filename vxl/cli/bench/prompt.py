"""A prompt about a video of any length, of tokens that mean nothing: what speed is measured with."""

import numpy as np

from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.model import VideoLanguageModel
from vxl.sequence.layout import Kind


def head_of(model: VideoLanguageModel, frames: int, *, timed: bool = True) -> Encoded:
    """A prompt as the family writes it, up to the question, with random tokens.

    Args:
        model: Its compressor groups the frames.
        frames: Of the video, one a second.
        timed: Whether the time stands before each group, as in Video-XL-2.
    """
    random, size = np.random.default_rng(0), model.compressor.frames_per_group
    encoded, groups = Encoded(), -(-frames // size)
    encoded.text(random.integers(model.llm.vocab, size=14).tolist())
    for group in range(groups):
        second = size * group
        if timed:
            words = random.integers(model.llm.vocab, size=6 + len(str(second))).tolist()
            encoded.visual(words, Kind.TIME, group, float(second))
        encoded.visual([0] * model.compressor.tokens_per_group, Kind.VISUAL, group, float(second))
    encoded.items.append(BatchedVisual("video", size * groups, groups))
    return encoded
