"""Another decoder's picture beside PyAV's of the same frame: too far from it, it is refused."""

from torch import Tensor

from vxl.errors import DataError

# Grey levels of 255 (mean over a picture) by which two decoders' conversions to RGB may differ.
ALIKE = 16.0

INSTEAD = "use  video.decoder=pyav video.device=cpu"
"""What to type where another decoder can't give the frame that is meant."""


def refuse_other_picture(
    got_1CHW: Tensor, expected_1CHW: Tensor, *, name: str, decoder: str, number: int
) -> None:
    """Compares a decoder's picture, on whatever device it is, with PyAV's.

    Args:
        got_1CHW: The decoder's, uint8.
        expected_1CHW: PyAV's, uint8.
        name: The video's.
        decoder: The decoder's, with its version.
        number: The frame's.

    Raises:
        DataError: It is another picture.
    """
    if got_1CHW.shape == expected_1CHW.shape:
        difference = float((got_1CHW.cpu().float() - expected_1CHW.float()).abs().mean())
        if difference <= ALIKE:
            return
    raise DataError(f"{name}: {decoder} gives another picture than FFmpeg for frame {number}.\n  {INSTEAD}")
